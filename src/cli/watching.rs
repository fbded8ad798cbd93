//! `framelane watch`: how a receiver stands, on a terminal or in a log.

mod lines;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::termios::tcgetwinsize;
use tokio::sync::watch;

use super::signals::{self, Wish};
use super::trust::{self, TrustArgs};
use super::{COMPLETE, Failure, INTERRUPTED, Outcome, output, process};
use crate::frame::Span;
use crate::identity::{ClientTls, EarlyData, ReceiverAddress, client_config};
use crate::view::{Asking, Figures, Token, fetch};
use lines::{log_line, table, wrapped};

const AFTER_HELP: &str = "\
On a terminal there is a line for each source, drawn again in place; elsewhere a plain line for
each source at every look. It goes on until Ctrl-C, also while the receiver is away.

Exit status: 0 with --once; 1 nobody answers at the beginning; 2 wrong usage; 130 interrupted.";

/// A terminal is drawn as often as this.
const DRAWN_EVERY: Duration = Duration::from_secs(1);

/// A log gets a line of each source as often as this.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Watch how the sources of a receiver come in, as its --view tells
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct WatchArgs {
    /// Where the view is: what `receive --view` printed behind `view at`, with its https:// where it has one
    #[arg(value_name = "[https://]HOST:PORT")]
    place: String,
    /// Look once, and end
    #[arg(long)]
    once: bool,
    /// How often to look [default: 1s on a terminal, 10s elsewhere]
    #[arg(long, value_name = "TIME", value_parser = parse_every)]
    every: Option<Span>,
    /// The file that the view's token is in, where it asks for one; or set FRAMELANE_VIEW_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The folder of this machine's identity, which a view by https:// is shown; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Print all figures, one JSON object on a line at each look
    #[arg(long)]
    json: bool,
}

fn parse_every(text: &str) -> Result<Span, String> {
    const SHORTEST: Duration = Duration::from_millis(100);
    match text.parse::<Span>() {
        Ok(Span(time)) if time < SHORTEST => Err("look every 100ms at most, as in 1s".to_owned()),
        time => time.map_err(|error| error.to_string()),
    }
}

fn token(args: &WatchArgs) -> Result<Option<Token>, Failure> {
    let text = match &args.token_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the token in {}", path.display()))
            .map_err(Failure::usage)?,
        None => match std::env::var("FRAMELANE_VIEW_TOKEN") {
            Ok(text) if !text.is_empty() => text,
            Ok(_) | Err(_) => return Ok(None),
        },
    };
    text.parse().map(Some).map_err(Failure::usage)
}

fn tls(args: &WatchArgs, place: &str) -> Result<ClientTls, Failure> {
    let receiver = place.parse::<ReceiverAddress>().map_err(Failure::usage)?;
    let trust = args.trust.for_receiver(&receiver).map_err(Failure::usage)?;
    let identity = trust::identity(&args.certs)?;
    Ok(client_config(&identity, trust, &[Asking::PROTOCOL], EarlyData::Off))
}

pub(super) fn run(args: &WatchArgs) -> Outcome {
    let place = args.place.trim_end_matches('/');
    let (place, by_tls) = match place.strip_prefix("https://") {
        Some(place) => (place, true),
        None => (place.strip_prefix("http://").unwrap_or(place), false),
    };
    if place.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(Failure::usage(anyhow!(
            "{place:?} has no port; write HOST:PORT, as in 127.0.0.1:8080"
        )));
    }
    let tls = match (by_tls, args.trust.said()) {
        (true, _) => Some(tls(args, place)?),
        (false, None) => None,
        (false, Some(option)) => {
            return Err(Failure::usage(anyhow!(
                "{option} is for a view that speaks TLS; write https://{place}"
            )));
        }
    };
    let asking = Asking { token: token(args)?, tls };
    process::runtime()?.block_on(async {
        let mut wish = signals::follow(true, Duration::ZERO, || {})?;
        let mut screen = Screen::new(args);
        let every = args.every.map_or_else(|| screen.every(), |Span(every)| every);
        let mut tick = tokio::time::interval(every);
        let mut has_seen = false;
        loop {
            tokio::select! {
                () = wished(&mut wish) => {
                    screen.leave();
                    return Ok(INTERRUPTED);
                }
                _ = tick.tick() => {}
            }
            let seen = tokio::select! {
                () = wished(&mut wish) => {
                    screen.leave();
                    return Ok(INTERRUPTED);
                }
                seen = fetch(place, &asking) => seen,
            };
            match seen {
                Ok(figures) => {
                    has_seen = true;
                    screen.show(&figures)?;
                }
                Err(error) if !has_seen || args.once => return Err(error.into()),
                Err(error) => screen.trouble(&output::told(&error.into())),
            }
            if args.once || !output::is_read() {
                screen.leave();
                return Ok(COMPLETE);
            }
        }
    })
}

async fn wished(wish: &mut watch::Receiver<Wish>) {
    // Who follows signals lives as long as the process.
    let _ = wish.wait_for(|wish| *wish != Wish::None).await;
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok();
    let (width, height) = size.map_or((100, 40), |size| (size.ws_col, size.ws_row));
    (usize::from(width.max(40)), usize::from(height.max(6)))
}

/// What the figures are written on.
enum Screen {
    Json,
    Log,
    /// A terminal, and how many lines were drawn on it.
    Terminal {
        drawn: usize,
    },
}

impl Screen {
    fn new(args: &WatchArgs) -> Self {
        match (args.json, io::stdout().is_terminal() && !args.once) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal { drawn: 0 },
            (false, false) => Self::Log,
        }
    }

    fn every(&self) -> Duration {
        match self {
            Self::Terminal { .. } => DRAWN_EVERY,
            Self::Json | Self::Log => LOGGED_EVERY,
        }
    }

    fn show(&mut self, figures: &Figures) -> anyhow::Result<()> {
        if let (Self::Log, Some(trouble)) = (&*self, &figures.trouble) {
            output::note(&output::printable(trouble));
        }
        match self {
            Self::Json => output::result(&serde_json::to_string(figures)?),
            Self::Log if figures.sources.is_empty() => output::result("no source yet"),
            Self::Log => {
                figures
                    .sources
                    .iter()
                    .for_each(|source| output::result(&log_line(figures, source)));
            }
            Self::Terminal { .. } => {
                let (width, height) = size();
                let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                let trouble = figures.trouble.as_deref().map(output::printable);
                let mut lines = trouble.map_or_else(Vec::new, |trouble| wrapped(&trouble, width));
                // The sources have half of it at least.
                lines.truncate(height / 2);
                lines.extend(table(figures, width, height - 2 - lines.len(), colour));
                self.draw(&lines);
            }
        }
        Ok(())
    }

    fn trouble(&mut self, why: &str) {
        match self {
            Self::Terminal { .. } => self.draw(&wrapped(&output::printable(why), size().0)),
            Self::Json | Self::Log => output::note(why),
        }
    }

    /// Draws over what was drawn before, line by line, so that nothing flickers.
    fn draw(&mut self, lines: &[String]) {
        let Self::Terminal { drawn } = self else { return };
        let mut text = String::new();
        if *drawn > 0 {
            text.push_str(&format!("\x1b[{drawn}A\r"));
        }
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        // What is left of more lines than now.
        text.push_str("\x1b[J");
        *drawn = lines.len();
        let mut out = io::stdout();
        // A terminal that is gone ends this by a signal.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn leave(&mut self) {
        if let Self::Terminal { drawn } = self {
            *drawn = 0;
        }
    }
}

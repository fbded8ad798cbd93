//! `framelane doctor`: what the way to a receiver is like, and what to do about it.

mod answer;
mod finding;
mod load;
mod mtu;
mod reach;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::trust::{self, TrustArgs};
use super::{
    COMPLETE, Failure, INCOMPLETE, INTERRUPTED, Outcome, Talk, output, run_to_end, stop_on_signal,
};
use crate::cli::words::in_options;
use crate::congestion::Congestion;
use crate::frame::Span;
use crate::identity::{ClientTls, EarlyData, Pin, ReceiverAddress, client_config};
use crate::report::Versioned;
use crate::transport::{self, Transport};
use crate::wire::ALPN;
use answer::{Answer, State};
use finding::{Address, Finding};
use load::Unmeasured;
use reach::Reach;

const AFTER_HELP: &str = "\
Nothing is stored at the receiver. For the time of --for the link is filled, as a transfer would
fill it; --for 0 leaves that out.

Examples:
  framelane doctor store:4433 --pin sha256:PIN
  framelane doctor store:4433 --pin sha256:PIN --for 10s --json

Exit status: 0 frames can be sent there, 1 they cannot, 2 wrong usage, 130 interrupted.";

/// Look at the way to a receiver: what answers, round trip, loss, rate, clocks, trust, and what limits
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// The receiver
    #[arg(value_name = "HOST:PORT")]
    receiver: ReceiverAddress,
    #[command(flatten)]
    trust: TrustArgs,
    /// Measure rate and loss for this long, at most 12s
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    time: Span,
    /// The folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Print what was found as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_time(text: &str) -> Result<Span, String> {
    /// A receiver ends a trial after 15 s.
    const LONGEST: Duration = Duration::from_secs(12);
    match text.parse::<Span>() {
        Ok(Span(time)) if time > LONGEST => {
            Err("a receiver lets itself be measured for 12s at most".to_owned())
        }
        time => time.map_err(|error| error.to_string()),
    }
}

/// Whom to look at, and how.
struct Patient {
    receiver: ReceiverAddress,
    tls: ClientTls,
}

pub(super) fn run(args: &DoctorArgs, talk: Talk) -> Outcome {
    let trust = args.trust.for_receiver(&args.receiver).map_err(Failure::usage)?;
    let identity = trust::identity(&args.certs)?;
    let tls = client_config(&identity, trust, &[ALPN], EarlyData::Off);
    let patient = Patient { receiver: args.receiver.clone(), tls };
    run_to_end(examine(&patient, identity.pin(), args, talk))?
}

async fn examine(patient: &Patient, pin: Pin, args: &DoctorArgs, talk: Talk) -> Outcome {
    let mut stop = stop_on_signal()?;
    let found = tokio::select! {
        found = look(patient, pin, args.time.0, talk) => found,
        () = stopped(&mut stop) => return Ok(INTERRUPTED),
    };
    if args.json {
        output::json(&Versioned::of(&found))?;
    } else {
        output::result(&found.text());
    }
    Ok(if found.can_send { COMPLETE } else { INCOMPLETE })
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn look(patient: &Patient, pin: Pin, time: Duration, talk: Talk) -> Finding {
    let mut found = Finding::new(patient.receiver.to_string(), pin.to_string());
    let addresses = match transport::resolve(&patient.receiver).await {
        Ok(addresses) => addresses,
        Err(error) => {
            found.unreachable(&in_options(&error.to_string()));
            return found;
        }
    };
    if !talk.quiet {
        let listed: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        output::note(&format!("looking at {}", listed.join(", ")));
    }
    let reached = reach::all(patient, &addresses).await;
    found.addresses = addresses
        .iter()
        .map(|address| {
            let over = |transport| {
                let of = reached
                    .iter()
                    .find(|reach| reach.address == *address && reach.transport == transport);
                of.map_or_else(Answer::not_tried, |reach| reach.answer.clone())
            };
            Address {
                address: address.to_string(),
                udp: over(Transport::Quic),
                tcp: over(Transport::Tcp),
            }
        })
        .collect();
    // Where both answer, QUIC is what is sent over.
    let best = reached.iter().find(|reach| reach.answer.is_session());
    let Some(Reach { address, transport, answer }) = best else {
        let older = reached.iter().find(|reach| reach.answer.state == State::Older);
        if let Some(why) = older.and_then(|reach| reach.answer.why.as_deref()) {
            found.older(why);
        }
        found.conclude();
        return found;
    };
    if !talk.quiet && !time.is_zero() {
        output::note(&format!("measuring over {transport} for {}", Span(time)));
    }
    let dial = reach::dial(patient, *address, *transport, Congestion::default());
    found.measured_with = Some(address.to_string());
    found.transport = Some(transport.to_string());
    let mut measured = load::measure(&*dial, time).await;
    // The receiver may not have noticed yet that the trials before this one have ended.
    let tries = if answer.state == State::Answers { reach::TRIES } else { 1 };
    for _ in 1..tries {
        if !matches!(measured, Err(Unmeasured::Full(_))) {
            break;
        }
        tokio::time::sleep(reach::BREATH).await;
        measured = load::measure(&*dial, time).await;
    }
    match measured {
        Ok(mut measured) => {
            let answers_udp =
                |reach: &&Reach| reach.transport == Transport::Quic && reach.answer.is_session();
            // On the way that was measured, where UDP is open there.
            let mut over_udp = reached.iter().filter(answers_udp);
            if over_udp.any(|reach| reach.address == *address) {
                let rtt = Duration::from_secs_f64(measured.rtt_ms.unwrap_or(0.0).max(0.0) / 1e3);
                measured.path_mtu = mtu::find(*address, rtt).await;
            }
            found.measured(measured);
        }
        Err(Unmeasured::Full(why)) => found.full(&why),
        Err(Unmeasured::Older(why)) => found.older(&why),
        Err(Unmeasured::Lost(error)) => found.unreachable(&in_options(&error.to_string())),
    }
    dial.linger().await;
    found.conclude();
    found
}

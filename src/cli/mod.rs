//! The command line: arguments, made into validated configuration, and a call of the library.
//!
//! One file a subcommand. Progress and logs go to stderr, results to stdout. Only here errors lose
//! their types and become text for people.

mod address;
mod advice;
mod certs;
mod compare;
mod completions;
mod config;
mod demo;
mod doctor;
mod help;
mod log;
mod man;
mod output;
mod process;
mod receive;
mod send;
mod service;
mod signals;
mod since;
mod sources;
mod tail;
mod trust;
mod verify;
mod watching;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::sync::watch;

/// Everything is stored and confirmed.
const COMPLETE: u8 = 0;
/// Something is missing or failed.
const INCOMPLETE: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// The user stopped it.
const INTERRUPTED: u8 = 130;

/// Moves sequences of camera frames over links that lose packets, and proves that every frame arrived.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    talk: Talk,
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, Args)]
struct Talk {
    /// Print errors and results only
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    quiet: bool,
    /// Print what goes on; twice for more (RUST_LOG chooses more finely)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 901)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Certs(certs::CertsArgs),
    Receive(receive::ReceiveArgs),
    Send(Box<send::SendArgs>),
    Verify(verify::VerifyArgs),
    Watch(watching::WatchArgs),
    Tail(tail::TailArgs),
    Compare(compare::CompareArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

impl Command {
    /// True where one object is to stand on stdout at the end, however it ends.
    fn prints_json(&self) -> bool {
        match self {
            Self::Receive(args) => args.json,
            Self::Send(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Doctor(args) => args.json,
            _ => false,
        }
    }
}

/// An error that ends a subcommand, with its exit status.
#[derive(Debug)]
struct Failure {
    status: u8,
    error: anyhow::Error,
}

/// What a subcommand comes to: an exit status.
type Outcome = Result<u8, Failure>;

impl Failure {
    /// The command line asks for what cannot be.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { status: USAGE, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { status: INCOMPLETE, error: error.into() }
    }
}

/// Parses the command line, runs what it asks for, and gives the exit status. `has_stdout`: false where
/// the process began with its standard output closed.
pub fn main(has_stdout: bool) -> ExitCode {
    if !has_stdout {
        output::stdout_is_closed();
    }
    process::tell_panics();
    // What the hook has said of a panic is all that there is to say.
    let status = catch_unwind(AssertUnwindSafe(begin)).unwrap_or(INCOMPLETE);
    log::end();
    let unwritten = output::unwritten();
    if let Some(why) = &unwritten {
        output::note(&format!("framelane: cannot write the result to standard output: {why}"));
    }
    output::flush_lines();
    let is_unwritten = unwritten.is_some() && status == COMPLETE;
    ExitCode::from(if is_unwritten { INCOMPLETE } else { status })
}

/// The whole command line.
fn command() -> clap::Command {
    help::arranged(Cli::command())
}

/// Parses what was asked for, wherever it was, and does it.
fn begin() -> u8 {
    let argv: Vec<_> = std::env::args_os().collect();
    let resolved = match config::resolve(command(), &argv, &config::Surroundings::of_process()) {
        Ok(resolved) => resolved,
        Err(config::Refused::Clap(error, notes)) => return say_usage(&error, &notes),
        Err(config::Refused::Config(error)) => {
            output::say_error(&error);
            return USAGE;
        }
    };
    if let Some(text) = config::printed(command(), &resolved) {
        output::result(&text);
        return COMPLETE;
    }
    match Cli::from_arg_matches(&resolved.matches) {
        Ok(cli) => run(cli, config::Loaded::new(argv, resolved.effective)),
        Err(error) => say_usage(&error, &[]),
    }
}

fn run(Cli { command, talk }: Cli, loaded: config::Loaded) -> u8 {
    log::start(talk, matches!(command, Command::Compare(_)));
    signals::survive_long_files();
    process::raise_file_limit();
    let json = command.prints_json();
    let outcome = match command {
        Command::Demo(args) => demo::run(&args, talk),
        Command::Certs(args) => certs::run(&args),
        Command::Receive(args) => receive::run(&args, talk, loaded),
        Command::Send(args) => send::run(&args, talk),
        Command::Verify(args) => verify::run(&args, talk),
        Command::Watch(args) => watching::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Compare(args) => compare::run(&args, talk),
        Command::Doctor(args) => doctor::run(&args, talk),
        Command::Completions(args) => completions::run(&args, self::command()),
        Command::Man(args) => man::run(&args, self::command()),
    };
    outcome.unwrap_or_else(|failure| {
        output::say_error(&failure.error);
        if json {
            output::json_error(&failure.error);
        }
        failure.status
    })
}

/// Prints help and the version as the results that they are, and wrong usage as an error; with what to know of values
/// that do not stand on the command line.
fn say_usage(error: &clap::Error, notes: &[String]) -> u8 {
    if error.use_stderr() {
        // Where stderr is closed there is nobody to tell.
        let _ = error.print();
        notes.iter().for_each(|note| output::note(&format!("framelane: {note}")));
        return USAGE;
    }
    output::help(error);
    COMPLETE
}

/// Runs `work` on a runtime of its own. What it leaves behind on blocking threads, a file that is being
/// read say, is not waited for: it ends with the process.
///
/// # Errors
/// Where no runtime can be had.
fn run_to_end<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = process::runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// Turns true at the first Ctrl-C, SIGTERM or SIGHUP, so that everything can end cleanly; a SIGHUP that
/// was ignored when the process began, as under `nohup`, stays so. The second one ends the process at
/// once; what was confirmed is stored even then.
///
/// # Errors
/// The system's, where a signal cannot be listened for.
///
/// # Panics
/// Outside a runtime.
pub fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    stop_on_signal_or(|| {})
}

/// The same, with something to be done before the second one ends the process: nothing is dropped
/// then.
///
/// # Errors
/// The system's, where a signal cannot be listened for.
///
/// # Panics
/// Outside a runtime.
pub fn stop_on_signal_or(
    at_once: impl FnOnce() + Send + 'static,
) -> anyhow::Result<watch::Receiver<bool>> {
    let (tell, stop) = watch::channel(false);
    let mut wish = signals::follow(true, std::time::Duration::ZERO, at_once)?;
    tokio::spawn(async move {
        if wish.wait_for(|wish| *wish != signals::Wish::None).await.is_ok() {
            tell.send_replace(true);
        }
        // Whoever looks at it later still sees it.
        tell.closed().await;
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_thread_that_reads_for_ever_does_not_keep_a_command_from_ending() {
        let (ended, end) = channel();
        // Dropped at the end of the test: until then the read takes.
        let (_reads_on, read) = channel::<()>();
        std::thread::spawn(move || {
            let done = super::run_to_end(async {
                let (began, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = began.send(());
                    let _ = read.recv();
                });
                begun.await
            });
            let _ = ended.send(done.is_ok());
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(true));
    }
}

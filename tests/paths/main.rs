//! Paths that change while frames are sent, with real sockets, the real program and an emulated link.
//!
//! It has a `main` of its own because a user namespace is entered before any thread is started. Where the system
//! does not allow an emulated link, or has no `ip`, it says SKIPPED and why; with `FRAMELANE_REQUIRE_LINK=1` that
//! is a failure. `cargo test --release --test paths -- --table` runs all rows several times over and prints a
//! table in Markdown; anything else that is named picks rows by a part of their names.
//! `cargo test --release --test paths -- journey [SECONDS] [FILE.svg]` is ten minutes of two live sources, and draws
//! them.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod full;
mod journey;
mod plot;
mod rows;
mod together;
mod world;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use framelane::link::{Privilege, enter_user_namespace};

use rows::{ROWS, Row, Seen};
use together::Together;
use world::{LINK, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        ROWS.iter().for_each(|row| println!("{}: test", row.name));
        together::ALL.iter().for_each(|both| println!("{}: test", both.name));
        return ExitCode::SUCCESS;
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["camera", bytes, rate] = words[..] {
        // A program of the journey.
        return film(bytes, rate);
    }
    if let ["full", seconds] = words[..] {
        return match seconds.parse().map_err(Into::into).and_then(full::receive) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let privilege = match enter_user_namespace() {
        Ok(privilege) => privilege,
        Err(error) => return skipped(&error.to_string()),
    };
    if let Err(error) = World::new(privilege, LINK, LINK) {
        return skipped(&format!("{error:#}"));
    }
    match words[..] {
        ["journey"] => return journeyed(journey::run(privilege, 600, None)),
        ["journey", seconds] => {
            return journeyed(
                seconds.parse().map_err(Into::into).and_then(|s| journey::run(privilege, s, None)),
            );
        }
        ["journey", seconds, picture] => {
            let picture = Some(Path::new(picture));
            let run = |seconds| journey::run(privilege, seconds, picture);
            return journeyed(seconds.parse().map_err(Into::into).and_then(run));
        }
        _ => {}
    }
    let is_table = arguments.iter().any(|argument| argument == "--table");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let rows =
        ROWS.iter().filter(|row| filter.is_none_or(|filter| row.name.contains(filter.as_str())));
    let rows: Vec<&Row> = rows.filter(|row| is_table || filter.is_some() || !row.is_long).collect();
    let both = together::ALL.iter().filter(|both| {
        filter.map_or(is_table || !both.is_long, |filter| both.name.contains(filter.as_str()))
    });
    let both: Vec<&'static Together> = both.collect();
    if !is_table {
        return test(privilege, &rows, &both);
    }
    table(privilege, &rows);
    match both.iter().filter(|both| !told(both.name, (both.run)(privilege))).count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn journeyed(outcome: Result<String>) -> ExitCode {
    match outcome {
        Ok(seen) => {
            println!("test journey ... ok ({seen})");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test journey ... FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes raw frames of `bytes` bytes to standard output, `rate` a second, until nobody reads them.
fn film(bytes: &str, rate: &str) -> ExitCode {
    let (Ok(bytes), Ok(rate)) = (bytes.parse::<usize>(), rate.parse::<f64>()) else {
        return ExitCode::FAILURE;
    };
    let began = Instant::now();
    let mut frame = vec![0; bytes];
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut frame);
        if std::io::stdout().write_all(&frame).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn skipped(why: &str) -> ExitCode {
    println!("SKIPPED: {why}");
    match std::env::var_os("FRAMELANE_REQUIRE_LINK") {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// Runs what holds of two links at once, and each row over each of its transports, and holds it to its bound.
fn test(privilege: Privilege, rows: &[&Row], both: &[&'static Together]) -> ExitCode {
    /// So many at once: most of each is waiting, and each has machines of its own.
    const AT_ONCE: usize = 4;
    type Task<'a> = Box<dyn Fn() -> bool + Sync + 'a>;
    let (alone, beside): (Vec<&Together>, Vec<&Together>) =
        both.iter().partition(|both| both.is_alone);
    let task = |both: &&'static Together| -> Task<'_> {
        let both = *both;
        Box::new(move || told(both.name, (both.run)(privilege)))
    };
    // Those that take longest first.
    let beside: Vec<Task<'_>> = beside.iter().map(task).collect();
    let over = rows.iter().flat_map(|&row| row.over.iter().map(move |&over| (row, over)));
    let rows = over.map(|(row, over)| -> Task<'_> {
        Box::new(move || {
            told(&format!("{} over {over}", row.name), held(row, row.run(privilege, over)))
        })
    });
    let all: Vec<Task<'_>> = beside.into_iter().chain(rows).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(task) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !task() {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let bad = alone.iter().filter(|both| !told(both.name, (both.run)(privilege))).count();
    if failed.into_inner() || bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says how a test went; true where it went well.
fn told(name: &str, outcome: Result<impl std::fmt::Display>) -> bool {
    match &outcome {
        Ok(seen) => println!("test {name} ... ok ({seen})"),
        Err(error) => println!("test {name} ... FAILED: {error:#}"),
    }
    outcome.is_ok()
}

fn held(row: &Row, seen: Result<Seen>) -> Result<Seen> {
    let seen = seen?;
    anyhow::ensure!(seen.fresh <= row.bound, "{seen}, where {:?} is the bound", row.bound);
    Ok(seen)
}

/// Prints a table of several runs of each row.
fn table(privilege: Privilege, rows: &[&Row]) {
    const RUNS: usize = 5;
    println!(
        "| what happens | over | first fresh frame, ms | latest frame, ms | in time again after, ms | reach, ms | went on |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        for over in row.over {
            let runs = if row.is_long { 1 } else { RUNS };
            let seen: Vec<_> = (0..runs).map(|_| row.run(privilege, over)).collect();
            for error in seen.iter().filter_map(|seen| seen.as_ref().err()) {
                eprintln!("{} over {over}: {error:#}", row.name);
            }
            let good: Vec<&Seen> = seen.iter().flatten().collect();
            let spread = |of: fn(&Seen) -> Duration| {
                let mut all: Vec<_> = good.iter().map(|seen| of(seen).as_millis()).collect();
                all.sort_unstable();
                match (all.first(), all.get(all.len() / 2), all.last()) {
                    (Some(least), Some(median), Some(most)) if all.len() > 1 => {
                        format!("{median} ({least} to {most})")
                    }
                    (Some(only), ..) => only.to_string(),
                    _ => "-".to_owned(),
                }
            };
            let failed = runs - good.len();
            let failed =
                if failed > 0 { format!("; {failed} of {runs} FAILED") } else { String::new() };
            let how = good.last().map_or_else(String::new, |seen| seen.paths.join(", then "));
            println!(
                "| {} | {over} | {} | {} | {} | {} | {how}{failed} |",
                row.name,
                spread(|seen| seen.fresh),
                spread(|seen| seen.latest),
                spread(|seen| seen.in_time),
                row.reach.as_millis()
            );
        }
    }
}

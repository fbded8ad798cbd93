//! Live sources over an emulated link, with real sockets and the real program.
//!
//! It has a `main` of its own because a user namespace is entered before any thread is started. Where the system
//! does not allow an emulated link it says SKIPPED and why; with `FRAMELANE_REQUIRE_LINK=1` that is a failure.
//!
//! - `cargo test --test live`: two rows of that table, held to loose bounds, and to how much memory a sender takes.
//! - `cargo test --release --test live -- --table`: links that carry less than is offered, and outages, as a table in
//!   Markdown; `--table tcp` those rows that are named so.
//! - `cargo test --release --test live -- scenario [SECONDS]`: ten minutes, or as many seconds, with losses, outages
//!   and kills.

mod camera;
mod ends;
mod overload;
mod scenario;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use framelane::link::{Privilege, enter_user_namespace};

use overload::{ROWS, Row};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // Programs of the tests below.
        ["camera", bytes, rate] => return told(film(bytes, rate)),
        ["push", address, pin] => return told(camera::push(address, pin)),
        _ => {}
    }
    if words.contains(&"--list") {
        println!("overload: test");
        return ExitCode::SUCCESS;
    }
    let privilege = match enter_user_namespace() {
        Ok(privilege) => privilege,
        Err(error) => return skipped(&error.to_string()),
    };
    if let Err(error) =
        "delay=1ms".parse().map_err(Into::into).and_then(|link| ends::Ends::new(privilege, &link))
    {
        return skipped(&format!("{error:#}"));
    }
    match words[..] {
        ["scenario"] => told(scenario::run(privilege, 600)),
        ["scenario", seconds] => told(
            seconds
                .parse()
                .context("SECONDS")
                .and_then(|seconds| scenario::run(privilege, seconds)),
        ),
        ["--table"] => told(table(privilege, "")),
        ["--table", part] => told(table(privilege, part)),
        [] | ["test"] => {
            told(ROWS.iter().filter(|row| row.is_usual).try_for_each(|row| test(privilege, row)))
        }
        _ => {
            println!("nothing is called so: test, --table or scenario");
            ExitCode::SUCCESS
        }
    }
}

fn film(bytes: &str, rate: &str) -> Result<()> {
    camera::film(bytes.parse()?, rate.parse()?)
}

fn told(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn skipped(why: &str) -> ExitCode {
    println!("SKIPPED: {why}");
    match std::env::var_os("FRAMELANE_REQUIRE_LINK") {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// Runs a row on a machine that may be busy with others, and holds it to looser bounds than the table shows.
fn test(privilege: Privilege, row: &Row) -> Result<()> {
    const BUSY_MS: f64 = 100.0;
    const LEAST: f64 = 0.7;
    let seen = row.run(privilege)?;
    println!("test {} ... {seen}", row.name);
    ensure!(seen.age(0.95) <= row.oldest_ms() + BUSY_MS, "frames are too old: {seen}");
    ensure!(seen.goodput.max(seen.of_carried) >= LEAST, "too little is whole frames: {seen}");
    let [all, own] = seen.memory;
    ensure!(own > 0 && own <= OWN_MEMORY, "a sender takes too much memory: {seen}");
    ensure!(cfg!(debug_assertions) || all <= ALL_MEMORY, "a sender takes too much memory: {seen}");
    Ok(())
}

/// What a sender of two cameras takes at the most, the program itself included; of a build that is optimised.
const ALL_MEMORY: u64 = 24_000_000;

/// The same beside its text, of any build.
const OWN_MEMORY: u64 = 12_000_000;

fn table(privilege: Privilege, part: &str) -> Result<()> {
    println!(
        "| the link carries of what is offered | over | captured | stored | late | age, ms: p50 / p95 / most | goodput | of what was carried | memory, MiB: all / own |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let named = |row: &&Row| row.name.contains(part) || row.transport.contains(part);
    for row in ROWS.iter().filter(|row| !row.is_usual).filter(named) {
        match row.run(privilege) {
            Ok(seen) => println!("| {} | {} | {seen} |", row.name, row.transport),
            Err(error) => println!("| {} | {} | FAILED: {error:#} |", row.name, row.transport),
        }
    }
    Ok(())
}

//! Two programs with a bad link between them, each in a network of its own.
//!
//! `cargo run --release --example on_link LINK FAR NEAR`
//!
//! `LINK` is what `framelane compare --link` takes, `delay=50ms,loss=2%`. `FAR` and `NEAR` are lines for `sh -c`, with
//! `$FAR` and `$NEAR` as the addresses of the two ends. The far one begins; the near one when the far one has printed its
//! first line, which goes to standard output like all else. It is over when both have ended, or after two minutes. The
//! exit status is that of the near one, or of the far one where that is not 0.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use framelane::link::{Emulation, LinkSpec, NamespaceHandle, enter_user_namespace};

/// Nothing that is measured takes longer.
const MOST: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spec, far, near] = &arguments[..] else {
        bail!("three arguments: the link, the far program, the near program");
    };
    let spec: LinkSpec = spec.parse()?;
    let privilege = enter_user_namespace()?;
    let link = Emulation::start(privilege, &spec)?;
    let begin = |line: &str, place: &NamespaceHandle, output: Stdio| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdin(Stdio::null()).stdout(output);
        command.env("FAR", link.far_addr().to_string()).env("NEAR", link.near_addr().to_string());
        // A process begins in the network of the thread that begins it.
        let child = place.run(move || command.spawn())?;
        child.with_context(|| format!("cannot run {line:?}"))
    };
    let mut far = begin(far, link.far(), Stdio::piped())?;
    let mut said = BufReader::new(far.stdout.take().context("its output is ours")?);
    let mut first = String::new();
    said.read_line(&mut first).context("the far program says nothing")?;
    print!("{first}");
    let passing = thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            // Whoever reads has gone: so does this.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    });
    let mut near = begin(near, link.near(), Stdio::inherit())?;
    let end = Instant::now() + MOST;
    let codes = [wait(&mut near, end)?, wait(&mut far, end)?];
    let _ = passing.join();
    let code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Its exit status; it is killed where the time is over.
fn wait(child: &mut Child, end: Instant) -> Result<i32> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or(1));
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(1);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

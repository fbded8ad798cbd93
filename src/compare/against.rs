//! Another build of framelane, which makes the same runs beside this one.
//!
//! It is asked to compare by itself, with one link, transport and repetition each time, and its outcome is read: so
//! it may be of any version whose `compare` writes JSON, and is measured by its own code.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use super::CompareError;
use super::outcome::{Comparison, Run};
use super::variant::Variant;
use crate::link::LinkSpec;

/// How often it is looked whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Another build.
#[derive(Debug, Clone)]
pub struct OtherBuild {
    program: PathBuf,
    /// As it calls itself.
    version: String,
    /// What says what is sent.
    arguments: Vec<String>,
    /// Whether its frames may come about when they are due.
    knows_cameras: bool,
}

impl OtherBuild {
    /// The build that `program` is.
    ///
    /// # Errors
    /// [`CompareError::Other`] where it is no framelane that compares.
    pub fn find(program: &Path) -> Result<Self, CompareError> {
        let version = ask(program, &["--version"])?;
        let version = version.trim().to_owned();
        let help = ask(program, &["compare", "--help"])?;
        if !version.starts_with("framelane ") || !help.contains("--json") {
            return Err(other(program, "it is no framelane that can compare".to_owned()));
        }
        let knows_cameras = help.contains("--as-folder");
        Ok(Self { program: program.to_owned(), version, arguments: Vec::new(), knows_cameras })
    }

    /// True where its frames may come about when they are due; otherwise they are there from the start.
    pub fn knows_cameras(&self) -> bool {
        self.knows_cameras
    }

    /// With arguments of `compare` that say what is sent.
    pub fn with_arguments(mut self, arguments: Vec<String>) -> Self {
        self.arguments = arguments;
        self
    }

    /// Makes one run over a link, which has a seed; one that is stopped meanwhile is none.
    ///
    /// # Errors
    /// [`CompareError::Other`] where it makes none, and says why.
    pub fn run(
        &self,
        link: &LinkSpec,
        variant: &Variant,
        repetition: u32,
        interrupted: &watch::Receiver<bool>,
    ) -> Result<Run, CompareError> {
        let transport = match &variant.congestion {
            Some(congestion) => format!("{}:{congestion}", variant.transport),
            None => variant.transport.clone(),
        };
        let mut command = Command::new(&self.program);
        command.args(["-q", "compare", "--repeat", "1", "--json", "/dev/stdout"]);
        command.args(["--link", &link.to_string(), "--transport", &transport]);
        let output = self.finish(command.args(&self.arguments), interrupted)?;
        // Its table may stand before.
        let printed = String::from_utf8_lossy(&output.stdout);
        let json = printed.lines().rev().find(|line| line.starts_with("{\""));
        let Some(json) = json else {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it did not say why");
            let why = format!("it ended with {} and no outcome: {last}", output.status);
            return Err(other(&self.program, why));
        };
        let unreadable = |error| other(&self.program, format!("its outcome is not known: {error}"));
        let outcome: Comparison = serde_json::from_str(json).map_err(unreadable)?;
        let rows = outcome.links.into_iter().flat_map(|link| link.rows);
        let run = rows.flat_map(|row| row.runs).next();
        let run = run.ok_or_else(|| other(&self.program, "its outcome has no run".to_owned()))?;
        Ok(Run { repetition, ..run })
    }

    /// Waits for it, unless the user stops the comparison: then it is stopped as well.
    fn finish(
        &self,
        command: &mut Command,
        interrupted: &watch::Receiver<bool>,
    ) -> Result<Output, CompareError> {
        let mut child = start(&self.program, command)?;
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        let failed = |error: std::io::Error| other(&self.program, error.to_string());
        let status = loop {
            if *interrupted.borrow() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(CompareError::Interrupted);
            }
            match child.try_wait().map_err(failed)? {
                Some(status) => break status,
                None => thread::sleep(LOOK_INTERVAL),
            }
        };
        Ok(Output { status, stdout: taken(stdout), stderr: taken(stderr) })
    }
}

impl fmt::Display for OtherBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.program.display(), self.version)
    }
}

fn start(program: &Path, command: &mut Command) -> Result<Child, CompareError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| other(program, format!("it cannot be run: {error}")))
}

/// What a program prints.
fn ask(program: &Path, arguments: &[&str]) -> Result<String, CompareError> {
    let child = start(program, Command::new(program).args(arguments))?;
    let output = child.wait_with_output();
    let output = output.map_err(|error| other(program, error.to_string()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn other(program: &Path, why: String) -> CompareError {
    CompareError::Other { program: program.to_owned(), why }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // What was read until then tells enough.
        let _ = from.read_to_end(&mut all);
        all
    })
}

fn taken(reading: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    reading.and_then(|reading| reading.join().ok()).unwrap_or_default()
}

//! A headless browser, driven over its own protocol: Chromium's, or Firefox' (WebDriver BiDi).

mod chromium;
mod firefox;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::support::PATIENCE;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chromium,
    Firefox,
}

/// A page in a browser; both end when this is dropped.
pub(super) struct Browser {
    kind: Kind,
    process: Child,
    socket: WebSocket<TcpStream>,
    /// By which the browser knows the page.
    page: String,
    last: u64,
    /// Errors on the console, and requests, as they came.
    pub(super) errors: Vec<String>,
    pub(super) requests: Vec<String>,
    _profile: TempDir,
}

impl Kind {
    /// The program, where it is there.
    fn program(self) -> Option<PathBuf> {
        let names: &[&str] = match self {
            Self::Chromium => &["chromium", "chromium-browser", "google-chrome", "chrome"],
            Self::Firefox => &["firefox-esr", "firefox"],
        };
        let path = std::env::var_os("PATH")?;
        let mut places = std::env::split_paths(&path)
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        places.find(|place| place.is_file())
    }
}

impl Browser {
    /// One that shows `url`; `None` where there is no such browser.
    pub(super) fn open(kind: Kind, url: &str, width: u32, height: u32) -> Option<Self> {
        let program = kind.program()?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        match kind {
            Kind::Chromium => chromium::arguments(&mut command, profile.path()),
            Kind::Firefox => firefox::arguments(&mut command, profile.path()),
        }
        let mut process = command
            .env("HOME", profile.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = address(&mut process);
        let host = address.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(host).unwrap();
        // To begin with it takes a minute where everything else is busy.
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        let address = match kind {
            Kind::Chromium => address.clone(),
            Kind::Firefox => format!("{address}/session"),
        };
        let (socket, _) = tungstenite::client(address.as_str(), stream).unwrap();
        let mut browser = Self {
            kind,
            process,
            socket,
            page: String::new(),
            last: 0,
            errors: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        match kind {
            Kind::Chromium => chromium::open(&mut browser, url, width, height),
            Kind::Firefox => firefox::open(&mut browser, url, width, height),
        }
        Some(browser)
    }

    /// Calls a method, and gives its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, where it may be that the page is just leaving.
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut request = json!({"id": self.last, "method": method, "params": params});
        if self.kind == Kind::Chromium && !self.page.is_empty() {
            request["sessionId"] = json!(self.page);
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last {
                let error = answer["error"].take();
                return if error.is_null() { Ok(answer["result"].take()) } else { Err(error) };
            }
            match self.kind {
                Kind::Chromium => chromium::note(self, &answer),
                Kind::Firefox => firefox::note(self, &answer),
            }
        }
    }

    /// What an expression comes to in the page.
    #[track_caller]
    pub(super) fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        match self.kind {
            Kind::Chromium => chromium::eval(self, expression),
            Kind::Firefox => firefox::eval(self, expression),
        }
    }

    /// Waits until an expression is what it shall be; what it needs may not be there yet. Looks
    /// once for each time that the page is drawn.
    #[track_caller]
    pub(super) fn until(&mut self, expression: &str, wanted: impl Into<Value>) {
        let wanted = Ok(wanted.into());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.try_eval(&format!(
                "new Promise((done, fail) => requestAnimationFrame(() => {{ \
                 try {{ done({expression}) }} catch (error) {{ fail(error) }} }}))"
            ));
            if found == wanted {
                return;
            }
            let errors = &self.errors;
            assert!(
                Instant::now() < deadline,
                "{expression}: {found:?}, not {wanted:?}; {errors:?}"
            );
            std::thread::yield_now();
        }
    }

    /// Presses a key and lets go of it.
    pub(super) fn key(&mut self, key: &str) {
        match self.kind {
            Kind::Chromium => chromium::key(self, key),
            Kind::Firefox => firefox::key(self, key),
        }
    }

    /// Moves the pointer there.
    pub(super) fn point(&mut self, x: f64, y: f64) {
        match self.kind {
            Kind::Chromium => chromium::point(self, x, y),
            Kind::Firefox => firefox::point(self, x, y),
        }
    }

    /// Presses the button of the mouse there and lets go of it.
    pub(super) fn click(&mut self, x: f64, y: f64) {
        match self.kind {
            Kind::Chromium => chromium::click(self, x, y),
            Kind::Firefox => firefox::click(self, x, y),
        }
    }
}

/// Where the browser listens, as it says itself.
fn address(process: &mut Child) -> String {
    let mut said = BufReader::new(process.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "the browser has ended");
        let listening = ["DevTools listening on ", "WebDriver BiDi listening on "];
        if let Some((_, address)) = listening.iter().find_map(|words| line.split_once(words)) {
            break address.trim().to_owned();
        }
    };
    // Whatever else it says shall not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    address
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

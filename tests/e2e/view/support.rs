//! A receiver with a view, a camera that sends to it, and a small client for what it shows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use framelane::{Frame, Sender};
use image::{GrayImage, ImageBuffer, ImageFormat, Luma};

use crate::support::{Place, Receiver};

/// Longer than anything takes that comes at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver with a view.
pub(super) struct Viewed<'a> {
    pub(super) receiver: Receiver<'a>,
    pub(super) view: SocketAddr,
}

impl<'a> Viewed<'a> {
    pub(super) fn start(place: &'a Place, args: &[&str]) -> Self {
        Self::at(place, "127.0.0.1:0", args)
    }

    /// One whose view is at this address.
    pub(super) fn at(place: &'a Place, address: &str, args: &[&str]) -> Self {
        let receiver = Receiver::start(place, &[&["--view", address], args].concat());
        let view = receiver.process().stderr_line(|line| {
            let (_, place) = line.split_once("view at ")?;
            place.split("://").nth(1)?.trim_end_matches('/').parse().ok()
        });
        Self { receiver, view }
    }

    /// A sender of these sources, as a program is one.
    pub(super) async fn camera(&self, place: &Place, sources: &[&str]) -> Sender {
        let mut sender = Sender::to(self.receiver.address().to_string())
            .pin(place.pin("receiver"))
            .certs(place.path("sender"));
        for source in sources {
            sender = sender.source(*source);
        }
        sender.start().await.unwrap()
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        ask(self.view, "GET", path, &[])
    }

    pub(super) fn state(&self) -> serde_json::Value {
        let answer = self.get("/state");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits until the state is so.
    pub(super) fn until(
        &self,
        what: &str,
        is: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.state();
            if is(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what} does not come: {state:#}");
            std::thread::yield_now();
        }
    }
}

/// Pushes a frame, and waits until it is stored.
pub(super) async fn push(sender: &Sender, source: &str, name: &str, content: Vec<u8>) {
    let frame = Frame::named(name, content).captured_now();
    sender.push(source, frame).await.unwrap().stored().await.unwrap();
}

/// A grey JPEG image with a bright column somewhere.
pub(super) fn jpeg(number: u32) -> Vec<u8> {
    let image =
        GrayImage::from_fn(64, 48, |x, _| Luma([if x / 8 == number % 8 { 240 } else { 30 }]));
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Jpeg).unwrap();
    bytes
}

/// A 16-bit PNG image as of a thermal camera: 7,000 counts and `number` more in each place than in the one before.
pub(super) fn thermal(number: u16) -> Vec<u8> {
    let image: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(40, 30, |x, y| Luma([7_000 + number + (x + 40 * y) as u16]));
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

/// Asks, and reads all of the answer.
pub(super) fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let (status, headers, mut rest) = begin(to, method, path, headers);
    let mut body = Vec::new();
    rest.read_to_end(&mut body).unwrap();
    Answer { status, headers, body }
}

/// Asks, and leaves the answer's body to be read. By HTTP 1.0, so that it comes in no chunks.
pub(super) fn begin(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, Vec<(String, String)>, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.0\r\n");
    if headers.iter().all(|(name, _)| *name != "host") {
        request.push_str(&format!("host: {to}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    (status, head(&mut stream), stream)
}

/// Reads header lines up to the empty one.
pub(super) fn head(stream: &mut impl BufRead) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { return headers };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

//! `receive --view`: who may look, and where.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;

use super::super::{Failure, Talk, output};
use crate::door::{self, Serving};
use crate::frame::SourceName;
use crate::identity::{Allow, Identity, Pin};
use crate::source::cut::{RawSize, RawSizeError};
use crate::store::FolderTemplate;
use crate::view::{Access, RawLook, RawShape, Shown, Token, View, ViewTls};

/// Where the page is, and who may see it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ViewArgs {
    /// Show the frames and how they come at this address: a page for browsers, streams and figures for programs.
    /// Loopback only, unless there is a token or --view-allow; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = door::parse_listen)]
    view: Option<SocketAddr>,
    /// Let only those look who have the token in this file: 16 to 256 letters and digits
    #[arg(long, value_name = "FILE")]
    view_token_file: Option<PathBuf>,
    /// The token itself. Others on this machine can see it in the list of processes; a file, or the environment
    /// variable FRAMELANE_VIEW_TOKEN, keeps it from them
    #[arg(long, value_name = "TOKEN", conflicts_with = "view_token_file")]
    view_token: Option<Token>,
    /// Speak TLS, with this receiver's certificate: https://
    #[arg(long)]
    view_tls: bool,
    /// Let only those look who show the certificate with this pin, as `framelane certs` printed it there; NAME=PIN
    /// says whose it is. Brings --view-tls (repeatable)
    #[arg(long, value_name = "[NAME=]PIN", value_parser = parse_viewer)]
    view_allow: Vec<Pin>,
    /// Answer to this name of the machine as well, beside its addresses (repeatable)
    #[arg(long, value_name = "NAME")]
    view_host: Vec<String>,
    /// The shape of a source's raw frames, to show them: width, height and bytes a pixel (1 or 2 of grey, the lower byte
    /// first, or 3 of colour: red, green, blue), as `send NAME=raw:640x512x2:-` has it. NAME=640x480x3,bgr where blue comes
    /// first, as OpenCV has it; NAME=bgr says that of NPY arrays, which tell their shape themselves (repeatable)
    #[arg(long, value_name = "NAME=640x512x2", value_parser = parse_raw)]
    view_raw: Vec<(SourceName, RawLook)>,
}

fn parse_raw(text: &str) -> Result<(SourceName, RawLook), String> {
    let Some((name, size)) = text.split_once('=') else {
        return Err(
            "write NAME=WIDTHxHEIGHTxBYTES, as in infrared=640x512x2, or NAME=bgr".to_owned()
        );
    };
    let name = SourceName::parse(name).map_err(|error| error.to_string())?;
    if size == "bgr" {
        return Ok((name, RawLook::default().bgr()));
    }
    let (size, look) = match size.strip_suffix(",bgr") {
        Some(size) => (size, RawLook::default().bgr()),
        None => (size, RawLook::default()),
    };
    let RawSize { width, height, depth } =
        size.parse().map_err(|error: RawSizeError| error.to_string())?;
    let shape = RawShape { width, height, depth };
    match shape.can_be_shown() {
        true => Ok((name, look.of_shape(shape))),
        false => Err(format!(
            "frames of {size} cannot be shown: 1, 2 or 3 bytes a pixel, and up to 32 million pixels, can"
        )),
    }
}

fn parse_viewer(text: &str) -> Result<Pin, String> {
    match text.parse::<Allow>() {
        Ok(Allow::Pin(pin) | Allow::Named(_, pin)) => Ok(pin),
        Ok(Allow::Any) => {
            Err("a certificate that anybody can make keeps nobody out; name pins, or take \
                               --view-tls with a token"
                .to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A view that is to be served: its arguments, checked.
pub(super) struct ToShow {
    address: SocketAddr,
    access: Access,
    tls: bool,
    viewers: Vec<Pin>,
    raw: HashMap<SourceName, RawLook>,
}

/// What is being shown, until this is dropped.
pub(super) struct Showing {
    _view: View,
    ready: Arc<AtomicBool>,
}

impl ViewArgs {
    /// Refuses what is of no use without a page; a token may stand in the environment for other runs.
    fn without_view(&self) -> Result<Option<ToShow>, Failure> {
        let given = [
            ("--view-tls", self.view_tls),
            ("--view-allow", !self.view_allow.is_empty()),
            ("--view-host", !self.view_host.is_empty()),
            ("--view-raw", !self.view_raw.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(None),
            Some((option, _)) => Err(Failure::usage(anyhow!(
                "{option} is of the page that --view ADDR:PORT shows; add that, or leave this out"
            ))),
        }
    }

    /// What the arguments ask for. Nothing is opened but the token's file.
    pub(super) fn checked(&self) -> Result<Option<ToShow>, Failure> {
        let Some(address) = self.view else { return self.without_view() };
        let mut access = Access::default();
        let token = match &self.view_token_file {
            Some(path) => Some(read_token(path)?),
            None => self.view_token.clone(),
        };
        if let Some(token) = token {
            access = access.with_token(token);
        }
        for host in &self.view_host {
            access = access.with_host(host);
        }
        let viewers = self.view_allow.clone();
        if viewers.is_empty() {
            access.check_at(address).map_err(Failure::usage)?;
        }
        let raw = self.view_raw.iter().cloned().collect();
        let tls = self.view_tls || !viewers.is_empty();
        Ok(Some(ToShow { address, access, tls, viewers, raw }))
    }
}

fn read_token(path: &Path) -> Result<Token, Failure> {
    let failed = |why: String| {
        Failure::usage(anyhow!("cannot take the view's token from {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.parse().map_err(|error: crate::view::TokenError| failed(error.to_string()))
}

impl ToShow {
    /// Shows what a receiver does that stores to `out`.
    pub(super) fn show(
        self,
        serving: &Serving,
        identity: &Identity,
        out: &Path,
        talk: Talk,
    ) -> anyhow::Result<Showing> {
        let template = FolderTemplate::parse(out.as_os_str())?;
        let ready = Arc::new(AtomicBool::new(true));
        let shown = Shown {
            board: serving.board.clone(),
            progress: serving.progress.clone(),
            root: template.root(),
            apart: template.fixed().is_none(),
            by_day: out.to_string_lossy().contains("{date}"),
            raw: self.raw,
            ready: ready.clone(),
        };
        let asks = self.access.has_token();
        let access = match (self.tls, self.viewers.is_empty()) {
            (false, _) => self.access,
            (true, true) => self.access.with_tls(ViewTls::new(identity)),
            (true, false) => self.access.with_tls(ViewTls::only(identity, self.viewers)),
        };
        let view = View::serve(self.address, access, shown)?;
        let scheme = if self.tls { "https" } else { "http" };
        output::note(&format!("view at {scheme}://{}/", view.address()));
        if self.tls && !talk.quiet {
            output::note(&format!("its certificate is the receiver's: {}", serving.pin));
        }
        if asks && !talk.quiet {
            output::note("open it once with ?token=TOKEN behind the address; the browser keeps it");
        }
        Ok(Showing { _view: view, ready })
    }
}

impl Showing {
    /// The receiver takes nothing new any more.
    pub(super) fn stopping(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

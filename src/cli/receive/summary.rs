//! What became of sessions: told at the end of each, and summed up at the end of all.
//!
//! Text and JSON say the same by the same names; docs/json.md has them.

use serde::Serialize;

use super::super::words::in_options;
use super::super::{Talk, log, output};
use crate::frame::ByteSize;
use crate::receiver::{LostFrameReport, ReceiveReport, SessionReport, SourceTotals};

/// Missing frames of a source that are named, on one line. After a full disk there are very many; `--json` has more of
/// them.
const NAMED: usize = 5;

/// How often in a while a session of one sender's machine is told in full. Who comes more often is
/// counted.
const TOLD: u32 = 20;

/// Everything that was received, from the start to the end.
#[derive(Default)]
pub(super) struct Summary {
    report: ReceiveReport,
}

impl Summary {
    /// Adds an ended session.
    pub(super) fn add(&mut self, mut session: SessionReport) {
        session.end = in_options(&session.end).into_owned();
        for why in session.sources.iter_mut().filter_map(|source| source.unopened.as_mut()) {
            *why = in_options(why).into_owned();
        }
        self.report.add(session);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.report.is_complete()
    }

    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let ReceiveReport {
            stored, bytes, verified, dropped, missing, incomplete_sessions, ..
        } = self.report;
        let before = self.report.stored_before();
        let cut_short = match incomplete_sessions {
            0 => String::new(),
            sessions => format!(", {} cut short", output::counted(sessions, "session")),
        };
        format!(
            "stored {}{} ({}), verified {}{}, missing {missing}{cut_short}",
            output::frames(stored + before),
            earlier(before),
            ByteSize(bytes),
            verified + before,
            declared(dropped),
        )
    }

    /// The summary for programs.
    pub(super) fn document(&self) -> Document<'_> {
        let before = self.report.stored_before();
        Document {
            sent: self.report.stored,
            stored: self.report.stored + before,
            stored_before: before,
            verified: self.report.verified + before,
            dropped: self.report.dropped,
            missing: self.report.missing,
            bytes: self.report.bytes,
            incomplete_sessions: self.report.incomplete_sessions,
            complete: self.is_complete(),
            sessions: self.report.sessions.iter().map(SessionPart::of).collect(),
        }
    }
}

/// ` (7 before)`, where there are any.
fn earlier(before: u64) -> String {
    if before == 0 { String::new() } else { format!(" ({before} before)") }
}

/// `, dropped 3`, where any were.
fn declared(dropped: u64) -> String {
    if dropped == 0 { String::new() } else { format!(", dropped {dropped}") }
}

/// What `receive --json` prints.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    sent: u64,
    stored: u64,
    stored_before: u64,
    verified: u64,
    dropped: u64,
    missing: u64,
    bytes: u64,
    incomplete_sessions: u64,
    complete: bool,
    sessions: Vec<SessionPart<'a>>,
}

#[derive(Serialize)]
struct SessionPart<'a> {
    peer: &'a str,
    pin: Option<&'a str>,
    transport: &'a str,
    began: Option<u64>,
    connections: u64,
    complete: bool,
    closed: bool,
    moved: bool,
    end: &'a str,
    refused_unnamed: u64,
    sources: Vec<SourcePart<'a>>,
}

impl<'a> SessionPart<'a> {
    fn of(session: &'a SessionReport) -> Self {
        Self {
            peer: &session.peer,
            pin: session.pin.as_deref(),
            transport: &session.transport,
            began: session.began,
            connections: session.connections,
            complete: session.complete,
            closed: session.closed,
            moved: session.moved,
            end: &session.end,
            refused_unnamed: session.refused_unnamed,
            sources: session.sources.iter().map(|source| SourcePart::of(source, session)).collect(),
        }
    }
}

/// A source of a session, by the words that the text has as well.
#[derive(Serialize)]
struct SourcePart<'a> {
    name: &'a str,
    frames: Option<u64>,
    sent: u64,
    stored: u64,
    stored_before: u64,
    verified: u64,
    dropped: Option<u64>,
    missing: Option<u64>,
    lost_frames: &'a [LostFrameReport],
    repaired: u64,
    copies: u64,
    refused: u64,
    unopened: Option<&'a str>,
    bytes: u64,
}

impl<'a> SourcePart<'a> {
    fn of(source: &'a SourceTotals, session: &SessionReport) -> Self {
        let stored = source.stored + source.stored_before;
        Self {
            name: &source.name,
            frames: source.frames,
            sent: source.stored,
            stored,
            stored_before: source.stored_before,
            verified: if session.has_hashes() { stored } else { 0 },
            dropped: source.frames.map(|_| source.dropped),
            missing: source.frames.map(|_| source.missing),
            lost_frames: &source.lost_frames,
            repaired: source.repaired,
            copies: source.copies,
            refused: source.refused,
            unopened: source.unopened.as_deref(),
            bytes: source.bytes,
        }
    }

    fn text(&self) -> String {
        if let Some(why) = self.unopened {
            return format!("{}: nothing, it was not open: {why}", self.name);
        }
        let Self { name, sent, stored, stored_before, verified, dropped, missing, .. } = self;
        let dropped = declared(dropped.unwrap_or(0));
        let before = earlier(*stored_before);
        let missing = missing.map_or_else(|| "not known".to_owned(), |missing| missing.to_string());
        format!(
            "{name}: sent {sent}, stored {stored}{before}, verified {verified}{dropped}, missing {missing}"
        )
    }
}

/// Tells a session's end, for people, on stderr.
pub(super) fn tell(session: &SessionReport, talk: Talk) {
    if talk.quiet {
        return;
    }
    let SessionReport { peer, transport, end, complete, .. } = session;
    if session.sources.is_empty() {
        tracing::warn!("a connection from {peer} ({transport}) came to nothing: {end}");
        return;
    }
    if session.began.is_none() {
        let names: Vec<_> = session.sources.iter().map(|source| source.name.as_str()).collect();
        let line = format!(
            "refused a session with {peer} over {transport} of {}: {end}",
            names.join(", ")
        );
        log::repeatable(&[line], TOLD);
        return;
    }
    let is_all = session.closed && session.has_no_more();
    let how = match (complete, session.moved) {
        (false, _) if is_all => "ended, without what was not taken of it".to_owned(),
        (true, _) => "ended".to_owned(),
        (false, true) => "goes on over another connection".to_owned(),
        (false, false) => format!("cut short: {end}"),
    };
    let mut lines = vec![format!("session with {peer} over {transport}: {how}")];
    for source in &session.sources {
        lines.push(format!("  {}", SourcePart::of(source, session).text()));
        lines.extend(lost(source).map(|names| format!("    {names}")));
    }
    log::repeatable(&lines, TOLD);
}

/// The first of the frames that will not come though nobody wanted that, and how many more there are.
fn lost(source: &SourceTotals) -> Option<String> {
    let named: Vec<_> = source
        .lost_frames
        .iter()
        .take(NAMED)
        .map(|frame| format!("{} (frame {})", output::printable(&frame.name), frame.sequence))
        .collect();
    let rest = source.lost.saturating_sub(named.len() as u64);
    let more = match (named.is_empty(), rest) {
        (true, _) => return None,
        (false, 0) => String::new(),
        (false, rest) => format!(" and {rest} more; --json has more of their names"),
    };
    let word = if source.missing > 0 { "missing" } else { "dropped" };
    Some(format!("{word}: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(began: u64, stored: u64, stored_before: u64) -> SessionReport {
        let source = SourceTotals {
            name: "visible".to_owned(),
            frames: Some(stored + stored_before),
            stored,
            stored_before,
            ..SourceTotals::default()
        };
        SessionReport {
            peer: "127.0.0.1:1".to_owned(),
            pin: None,
            transport: "quic".to_owned(),
            connections: 1,
            began: Some(began),
            asked: Some(began),
            sources: vec![source],
            complete: true,
            closed: true,
            moved: false,
            end: String::new(),
            refused_unnamed: 0,
        }
    }

    fn said(sessions: &[(u64, u64)]) -> String {
        let mut summary = Summary::default();
        for (place, (stored, before)) in sessions.iter().enumerate() {
            summary.add(session(place as u64 + 1, *stored, *before));
        }
        let text = summary.text();
        let document = serde_json::to_value(summary.document()).unwrap();
        let stored = output::frames(document["stored"].as_u64().unwrap());
        assert!(text.starts_with(&format!("stored {stored}")), "{text} but {document}");
        text
    }

    #[test]
    fn the_first_of_many_lost_frames_are_named_and_the_rest_counted() {
        let mut source = SourceTotals { dropped: 69, lost: 69, ..SourceTotals::default() };
        assert_eq!(lost(&source), None);
        let frame = |sequence| LostFrameReport { sequence, name: format!("{sequence}.jpg") };
        source.lost_frames = (0..69).map(frame).collect();
        let line = lost(&source).unwrap();
        assert!(line.starts_with("dropped: 0.jpg (frame 0), 1.jpg (frame 1), "), "{line}");
        assert!(
            line.ends_with("4.jpg (frame 4) and 64 more; --json has more of their names"),
            "{line}"
        );
        (source.lost, source.missing) = (1, 1);
        source.lost_frames.truncate(1);
        assert_eq!(lost(&source).unwrap(), "missing: 0.jpg (frame 0)");
    }

    #[test]
    fn a_frame_that_was_there_before_is_stored_all_the_same() {
        assert!(said(&[(111, 0)]).starts_with("stored 111 frames ("));
        assert!(said(&[(0, 111)]).starts_with("stored 111 frames (111 before)"));
        // Before a session is not before the run.
        assert!(said(&[(111, 0), (0, 111)]).starts_with("stored 111 frames (0 B)"));
        assert!(said(&[(50, 11), (50, 61)]).starts_with("stored 111 frames (11 before)"));
    }

    #[test]
    fn two_senders_with_sources_of_one_name_are_counted_each_by_itself() {
        let of = |pin: &str, session| SessionReport { pin: Some(pin.to_owned()), ..session };
        let mut summary = Summary::default();
        summary.add(of("one", session(1, 100, 0)));
        summary.add(of("two", session(2, 10, 50)));
        assert!(summary.text().starts_with("stored 160 frames (50 before)"), "{}", summary.text());
    }

    /// Other people's programs depend on them: one may be added, none taken away or given another meaning
    /// while `schema` stays.
    #[test]
    fn the_names_in_json_stay_as_they_are() {
        let mut summary = Summary::default();
        summary.add(session(1, 1, 1));
        let document = serde_json::to_value(summary.document()).unwrap();
        let keys = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            keys(&document),
            "bytes complete dropped incomplete_sessions missing sent sessions stored \
             stored_before verified"
        );
        let session = &document["sessions"][0];
        assert_eq!(
            keys(session),
            "began closed complete connections end moved peer pin refused_unnamed sources transport"
        );
        assert_eq!(
            keys(&session["sources"][0]),
            "bytes copies dropped frames lost_frames missing name refused repaired sent stored \
             stored_before unopened verified"
        );
    }
}

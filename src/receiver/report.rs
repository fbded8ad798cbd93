//! What became of a session, and of a run of receiving.

use std::collections::HashMap;

use serde::Serialize;

use crate::transport::Transport;

/// One session from its hello to its end.
#[derive(Debug, Clone, Serialize)]
pub struct SessionReport {
    /// The sender's address.
    pub peer: String,
    /// The pin of its certificate, where it has one.
    pub pin: Option<String>,
    /// The transport.
    pub transport: String,
    /// One entry a source that the hello named.
    pub sources: Vec<SourceTotals>,
    /// True where the sender ended every source, and said so.
    pub complete: bool,
    /// How the session ended, in words.
    pub end: String,
    /// Frames that were refused without it being known which: at most one a broken stream.
    pub refused_unnamed: u64,
}

impl SessionReport {
    /// True where every frame came with its hash, which the stop-and-wait protocol cannot carry.
    pub fn has_hashes(&self) -> bool {
        self.transport != Transport::StopAndWait.name()
    }
}

/// What became of one source of a session.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceTotals {
    /// Its name.
    pub name: String,
    /// Frames in the source, once the sender has ended it.
    pub frames: Option<u64>,
    /// Frames stored in this session, each checked against its hash.
    pub stored: u64,
    /// Frames that were stored before.
    pub already_stored: u64,
    /// Frames mended by forward repair.
    pub repaired: u64,
    /// Payload bytes stored in this session.
    pub bytes: u64,
    /// Frames that will not come, as the sender says.
    pub missing: u64,
    /// Which, at most 1,024 of them.
    pub missing_frames: Vec<LostFrameReport>,
    /// Frames that were refused in this session; a sender may have sent them again later.
    pub refused: u64,
}

/// A frame that will not come.
#[derive(Debug, Clone, Serialize)]
pub struct LostFrameReport {
    /// Place in the source.
    pub sequence: u64,
    /// Its name, as the sender calls it.
    pub name: String,
}

/// Everything a receiver did from its start to its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReceiveReport {
    /// Ended sessions, in the order of their ends; the last 1,000 of them.
    pub sessions: Vec<SessionReport>,
    /// Frames stored.
    pub stored: u64,
    /// Those of them that were checked against the hash that came with them: all, but for the
    /// stop-and-wait protocol, which carries none.
    pub verified: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that senders said will not come.
    pub missing: u64,
    /// Sessions that ended before their sources did.
    pub incomplete_sessions: u64,
}

impl ReceiveReport {
    /// Adds an ended session.
    pub fn add(&mut self, session: SessionReport) {
        const KEPT: usize = 1_000;
        let stored = session.sources.iter().map(|source| source.stored).sum::<u64>();
        self.stored += stored;
        self.verified += if session.has_hashes() { stored } else { 0 };
        self.bytes += session.sources.iter().map(|source| source.bytes).sum::<u64>();
        self.missing += session.sources.iter().map(|source| source.missing).sum::<u64>();
        self.incomplete_sessions += u64::from(!session.complete);
        if self.sessions.len() == KEPT {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    /// True where the last session of each source ended it with nothing missing: what an earlier
    /// one left out was sent since.
    pub fn is_complete(&self) -> bool {
        let mut left = HashMap::new();
        for session in &self.sessions {
            for source in &session.sources {
                left.insert(&source.name, source.frames.is_none() || source.missing > 0);
            }
        }
        !left.into_values().any(|incomplete| incomplete)
    }
}

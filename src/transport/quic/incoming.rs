//! One frame as its stream arrives, in whatever order.

use std::cell::RefCell;
use std::time::Duration;

use crate::frame::{Frame, Sequence, UnixNanos};
use crate::repair::{
    Arrival as Body, Assembly, Head, Layout, Limits, Plan, Progress, RepairError, TrailerMark,
};
use crate::transport::threads::beside_packets;
use crate::transport::{Account, ArrivedFrame, Claim, Intake, SourceCount};
use crate::wire::{Decoded, FrameHeader, MAX_HEADER_BYTES, RefusalCode, SourceId, WireError};

/// Memory for a body is claimed in steps that double from here.
const FIRST_CLAIM: u64 = 4 * 1_024;

/// What a frame holds beside its body, once it has arrived.
const FRAME_BYTES: u64 = 1_024;

/// Why a frame's stream was refused.
pub(super) struct Fault {
    pub(super) frame: Option<(SourceId, Sequence)>,
    pub(super) code: RefusalCode,
    pub(super) reason: String,
}

/// What a chunk led to.
pub(super) enum Step {
    /// Go on reading.
    More,
    /// The frame is there.
    Whole(Box<ArrivedFrame>),
}

/// A frame that is arriving.
pub(super) struct Incoming<'a> {
    sources: &'a SourceCount,
    assembly: Assembly,
    header: Option<FrameHeader>,
    claim: Claim,
    claimed: u64,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        intake: &'a Intake,
        account: &Account,
        sources: &'a SourceCount,
        mark: TrailerMark,
    ) -> Self {
        let limits = Limits { max_header: MAX_HEADER_BYTES, max_body: intake.max_frame.0 };
        Self {
            sources,
            assembly: Assembly::with_spares(limits, mark, account.spares()),
            header: None,
            claim: account.claim(),
            claimed: 0,
        }
    }

    /// Takes a chunk. Waits for memory where the budget is used up.
    pub(super) async fn take(&mut self, offset: u64, chunk: &[u8]) -> Result<Step, Fault> {
        self.claim_for(chunk.len() as u64).await;
        match self.accept(offset, chunk)? {
            Progress::NeedMore => Ok(Step::More),
            Progress::Enough { bytes } => Ok(self.mend(bytes).await),
            Progress::Ready(body) => Ok(self.ready(body)),
        }
    }

    fn accept(&mut self, offset: u64, chunk: &[u8]) -> Result<Progress, Fault> {
        let malformed = RefCell::new(None);
        let seen = RefCell::new(None);
        let head = |bytes: &[u8]| head(bytes, &seen, &malformed);
        let progress = self.assembly.accept(offset, chunk, head);
        if let Some(header) = seen.into_inner() {
            self.look_at(header)?;
        }
        progress.map_err(|error| self.fault(&error, malformed.into_inner()))
    }

    /// Makes the body of what has come. The memory that this takes is held like the body's: a session's frames that need
    /// it wait for one another where their share is used up.
    async fn mend(&mut self, bytes: u64) -> Step {
        self.claim.grow_to(FRAME_BYTES + self.claimed + bytes).await;
        let body = self.assembly.layout().map_or(0, |layout| layout.body_len);
        let assembly = &mut self.assembly;
        let progress = beside_packets(body, || assembly.mend());
        // What has come goes with this frame's stream, and was as long as its body.
        self.claim.shrink_to(FRAME_BYTES + self.claimed.max(body));
        match progress {
            Progress::Ready(body) => {
                let is_long = body.body.len() as u64;
                let announced = self.header.as_ref().and_then(|header| header.meta.hash);
                let hashed = || announced == Some(blake3::hash(&body.body));
                if body.mended_shards > 0 && !beside_packets(is_long, hashed) {
                    // Retransmission brings the body itself, sooner or later.
                    self.assembly.distrust_repair();
                    return Step::More;
                }
                self.ready(body)
            }
            Progress::NeedMore | Progress::Enough { .. } => Step::More,
        }
    }

    /// The stream has ended too early.
    pub(super) fn truncated(self) -> Fault {
        if self.header.is_none() {
            return self.no_header();
        }
        self.fault(&RepairError::Truncated { received: self.assembly.received() }, None)
    }

    /// Whether the stream carries repair, of which more may come than is needed.
    pub(super) fn has_repair(&self) -> bool {
        self.assembly.layout().is_some_and(|layout| layout.repair.is_some())
    }

    /// It rests for too long; `None` where nobody knows yet which frame it is.
    pub(super) fn stalled(&self, stall: Duration) -> Option<Fault> {
        let header = self.header.as_ref()?;
        let (name, came) = (&header.meta.name, self.assembly.received());
        let seconds = stall.as_secs_f32();
        let reason =
            format!("{name}: it rests after {came} bytes, and nothing came for {seconds} s");
        Some(Fault { frame: self.frame(), code: RefusalCode::Stalled, reason })
    }

    /// Memory is claimed for what has come, in steps, and never for what is merely announced.
    async fn claim_for(&mut self, more: u64) {
        let needed = self.assembly.received() + more;
        if needed > self.claimed {
            let announced = self.assembly.layout().map_or(u64::MAX, |layout| layout.end());
            let next =
                needed.max((self.claimed * 2).min(announced)).max(FIRST_CLAIM.min(announced));
            self.claim.grow_to(FRAME_BYTES + next).await;
            self.claimed = next;
        }
    }

    /// Refuses what can be refused from the header on.
    fn look_at(&mut self, header: FrameHeader) -> Result<(), Fault> {
        let source = header.source;
        self.header = Some(header);
        if self.sources.knows(source) {
            return Ok(());
        }
        let reason = format!("source number {} was not in the hello", source.0);
        Err(Fault { frame: self.frame(), code: RefusalCode::UnknownSource, reason })
    }

    fn ready(&mut self, body: Body) -> Step {
        self.arrived(body).map_or(Step::More, |frame| Step::Whole(Box::new(frame)))
    }

    fn arrived(&mut self, body: Body) -> Option<ArrivedFrame> {
        let FrameHeader { source, meta, .. } = self.header.take()?;
        let next = self.claim.account().claim();
        let mut claim = std::mem::replace(&mut self.claim, next);
        claim.arrived();
        let repaired = body.mended_shards > 0 || self.assembly.header_from_trailer();
        let frame = Frame { meta, body: body.body };
        Some(ArrivedFrame { source, frame, received: UnixNanos::now(), repaired, claim })
    }

    fn frame(&self) -> Option<(SourceId, Sequence)> {
        self.header.as_ref().map(|header| (header.source, header.meta.sequence))
    }

    fn no_header(&self) -> Fault {
        let came = self.assembly.received();
        let reason = format!("a frame's stream ended after {came} bytes, inside its header");
        Fault { frame: None, code: RefusalCode::BadHeader, reason }
    }

    fn fault(&self, error: &RepairError, malformed: Option<WireError>) -> Fault {
        let code = match error {
            RepairError::BodyTooLong { .. } => RefusalCode::TooLarge,
            RepairError::BeyondEnd { .. } if self.header.is_some() => RefusalCode::LengthMismatch,
            RepairError::Truncated { .. } => RefusalCode::LengthMismatch,
            _ => RefusalCode::BadHeader,
        };
        let mut reason = match (malformed, error) {
            (Some(error), _) => error.to_string(),
            (None, RepairError::BodyTooLong { announced, limit }) => {
                format!("{announced} bytes; the receiver takes at most {limit} (`max_frame`)")
            }
            (None, error) => error.to_string(),
        };
        if let Some(header) = &self.header {
            reason = format!("{}: {reason}", header.meta.name);
        }
        Fault { frame: self.frame(), code, reason }
    }
}

/// What the repair layer has to know of a header.
fn head(
    bytes: &[u8],
    seen: &RefCell<Option<FrameHeader>>,
    malformed: &RefCell<Option<WireError>>,
) -> Head {
    let (header, header_len) = match FrameHeader::decode(bytes) {
        Ok(Decoded::NeedMore(_)) => return Head::NeedMore,
        Ok(Decoded::Value(header, length)) => (header, length),
        Err(error) => {
            malformed.replace(Some(error));
            return Head::Bad;
        }
    };
    let body_len = header.meta.bytes;
    let Some(repair) = header.repair else {
        seen.replace(Some(header));
        return Head::Found(Layout::plain(header_len, body_len));
    };
    match Plan::new(body_len, repair.shard_bytes as usize, repair.repair_shards as usize) {
        Ok(plan) => {
            seen.replace(Some(header));
            Head::Found(Layout::repaired(header_len, plan))
        }
        Err(error) => {
            let (what, why) = ("the frame header", error.to_string());
            malformed.replace(Some(WireError::Malformed { what, why }));
            Head::Bad
        }
    }
}

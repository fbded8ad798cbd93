//! A trial of the link: clocks first, then as much as it takes, for a while. Nothing of it is stored.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::finding::Measured;
use crate::compare::remote::ClockOffset;
use crate::frame::{ContentHash, FrameMeta, FrameName, MediaType, Sequence, UnixNanos};
use crate::transport::{Dial, OutgoingFrame, PathStats, SenderLink, TransportError};
use crate::wire::{CloseCode, Counted, FrameHeader, Message, SourceId, Trial, Welcome};

/// How long a receiver may take to welcome a trial.
const WELCOME: Duration = Duration::from_secs(8);

/// Bytes of a frame of a trial: as many as a camera's may have.
const FRAME_BYTES: usize = 60_000;

/// Clock probes, one after the other: the quickest counts.
const PROBES: u32 = 8;

/// How long one is waited for.
const PROBE: Duration = Duration::from_secs(2);

/// The part of the time in which the rate is found, and not yet counted.
const SETTLING: u32 = 5;

/// What may be under way before it is known what the link carries.
const FIRST_ROOM: u64 = 1 << 20;

/// How long the end of a trial may take.
const DRAIN: Duration = Duration::from_secs(3);

/// A receiver that was not heard for so long is asked whether it is there at all.
const SILENT: Duration = Duration::from_secs(2);

/// How long that answer may take, behind all that is under way.
const ANSWER: Duration = Duration::from_secs(4);

/// Why nothing was measured.
pub(super) enum Unmeasured {
    /// The receiver is there, and has no room now.
    Full(String),
    /// It does not know what a trial is.
    Older(String),
    /// The connection failed.
    Lost(TransportError),
}

impl From<TransportError> for Unmeasured {
    fn from(error: TransportError) -> Self {
        use crate::wire::CloseCode::{Busy, Protocol};
        match &error {
            TransportError::ClosedByPeer { code, why, .. } => match CloseCode::from_number(*code) {
                Some(Busy) => Self::Full(why.clone()),
                Some(Protocol) => Self::Older(format!(
                    "the receiver is of an earlier version that does not let itself be measured ({why}); frames can \
                     be sent there. Bring it to this version of framelane to measure"
                )),
                _ => Self::Lost(error),
            },
            _ => Self::Lost(error),
        }
    }
}

/// Begins a trial.
pub(super) async fn open(link: &mut SenderLink) -> Result<Welcome, Unmeasured> {
    let trial = Trial {
        session: rand::rng().random(),
        agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let _ = link.messages.send(Message::Trial(trial)).await;
    let welcomed = timeout(WELCOME, async {
        loop {
            match link.incoming.recv().await {
                Some(Message::Welcome(welcome)) => return Ok(welcome),
                Some(_) => {}
                None => return Err(link.end.cause().await),
            }
        }
    });
    let silent = || TransportError::Silent {
        why: format!(
            "the receiver did not answer within {} s, though the connection is there",
            WELCOME.as_secs()
        ),
    };
    Ok(welcomed.await.unwrap_or_else(|_| Err(silent()))?)
}

/// Measures the way to one receiver; `time` zero: its clock and round trip alone.
pub(super) async fn measure(dial: &dyn Dial, time: Duration) -> Result<Measured, Unmeasured> {
    let mut link = dial.dial().await?;
    let welcome = open(&mut link).await;
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(why) => {
            link.end.close(CloseCode::Done, "").await;
            return Err(why);
        }
    };
    let clock = clock(&mut link).await;
    let mut measured = Measured { agent: welcome.agent.clone(), clock, ..Measured::default() };
    measured.rtt_ms = clock.map(|clock| clock.rtt_ms);
    if !time.is_zero() {
        let began = link.path.look();
        let ended = load(&mut link, &welcome, time, &mut measured).await;
        measured.take_path(&began, &link.path.look());
        if let Some(error) = ended {
            return Err(error.into());
        }
    }
    link.end.close(CloseCode::Done, "").await;
    Ok(measured)
}

/// How the clocks stand, by the quickest of some probes.
async fn clock(link: &mut SenderLink) -> Option<ClockOffset> {
    let mut probes = Vec::new();
    for _ in 0..PROBES {
        let asked = UnixNanos::now();
        if link.messages.send(Message::ClockProbe(asked.0)).await.is_err() {
            break;
        }
        let reply = timeout(PROBE, async {
            loop {
                match link.incoming.recv().await? {
                    Message::ClockReply { asked: of, arrived, replied } if of == asked.0 => {
                        return Some([
                            asked,
                            UnixNanos(arrived),
                            UnixNanos(replied),
                            UnixNanos::now(),
                        ]);
                    }
                    _ => {}
                }
            }
        });
        if let Ok(Some(probe)) = reply.await {
            probes.push(probe);
        }
    }
    ClockOffset::from_probes(&probes)
}

/// Frames of a trial, all of one content that no link can make shorter.
struct Frames {
    body: Bytes,
    hash: ContentHash,
    media: MediaType,
    next: u64,
}

impl Frames {
    fn new(max_frame: u64) -> Option<Self> {
        let length = FRAME_BYTES.min(usize::try_from(max_frame).unwrap_or(FRAME_BYTES));
        let mut body = vec![0; length];
        rand::rng().fill(&mut body[..]);
        let hash = blake3::hash(&body);
        let media = MediaType::parse("application/octet-stream").ok()?;
        Some(Self { body: body.into(), hash, media, next: 0 })
    }

    fn next(&mut self) -> Option<OutgoingFrame> {
        let sequence = self.next;
        self.next += 1;
        let meta = FrameMeta {
            sequence: Sequence(sequence),
            name: FrameName::parse(&sequence.to_string()).ok()?,
            bytes: self.body.len() as u64,
            hash: Some(self.hash),
            captured: None,
            due: None,
            modified: None,
            media: self.media.clone(),
        };
        let header = FrameHeader { source: SourceId(0), meta, repair: None };
        // The first go first, so that they arrive one after the other and not all at the end.
        let priority = i32::try_from(sequence).map_or(i32::MIN, |sequence| -sequence);
        Some(OutgoingFrame {
            header,
            body: self.body.clone(),
            priority,
            late: None,
            deadline: None,
            moot: None,
        })
    }
}

/// Fills the link; gives what ended it before its time.
async fn load(
    link: &mut SenderLink,
    welcome: &Welcome,
    time: Duration,
    measured: &mut Measured,
) -> Option<TransportError> {
    let mut frames = Frames::new(welcome.max_frame)?;
    let each = frames.body.len() as u64;
    let began = Instant::now();
    let mut counted = Counted { frames: 0, bytes: 0 };
    // What had come when the rate was found, and what came last.
    let (mut from, mut to): (Option<(Instant, u64)>, _) = (None, (began, 0));
    // What may be under way: what the link carries in a second, so that it is soon through at the end.
    let mut room = FIRST_ROOM;
    let (mut round_trips, mut heard) = (Vec::new(), began);
    let mut tick = interval(Duration::from_millis(100));
    let mut ended = loop {
        let unconfirmed = frames.next.saturating_sub(counted.frames);
        let has_room = unconfirmed < welcome.max_unconfirmed_frames
            && (unconfirmed + 1) * each <= welcome.max_unconfirmed_bytes.min(room).max(each);
        tokio::select! {
            message = link.incoming.recv() => match message {
                Some(Message::Counted(now)) => {
                    (counted, heard) = (now, Instant::now());
                    to = (Instant::now(), now.bytes);
                    let carried = now.bytes as f64 / began.elapsed().as_secs_f64().max(0.1);
                    room = FIRST_ROOM.max(carried as u64);
                    if from.is_none() && began.elapsed() >= time / SETTLING {
                        from = Some(to);
                    }
                }
                Some(_) => heard = Instant::now(),
                None => break Some(link.end.cause().await),
            },
            permit = link.frames.reserve(), if has_room => match (permit, frames.next()) {
                (Ok(permit), Some(frame)) => permit.send(frame),
                _ => break Some(link.end.cause().await),
            },
            _ = tick.tick() => {
                if began.elapsed() >= time / 2 {
                    round_trips.push(link.path.look().rtt);
                }
            }
            () = sleep_until(began + time) => break None,
        }
    };
    let (since, bytes) = from.unwrap_or((began, 0));
    let seconds = to.0.saturating_duration_since(since).as_secs_f64();
    measured.seconds = began.elapsed().as_secs_f64();
    if ended.is_none() && counted.frames < frames.next && !drain(link, frames.next).await {
        let is_silent = heard.elapsed() > SILENT + DRAIN;
        if is_silent && !is_there(link).await {
            let after = heard.saturating_duration_since(began).as_secs_f64();
            let why = format!(
                "the receiver was heard for {after:.1} s of the measurement, and then no more: it has ended, or the link is gone"
            );
            ended = Some(TransportError::Silent { why });
        }
    }
    measured.bytes = counted.bytes;
    measured.rate_mbit = (seconds > 0.0).then(|| (to.1 - bytes) as f64 * 8e-6 / seconds);
    round_trips.sort_unstable();
    let median = round_trips.get(round_trips.len() / 2).filter(|rtt| !rtt.is_zero());
    measured.loaded_rtt_ms = median.map(|rtt| rtt.as_secs_f64() * 1e3);
    ended
}

/// Waits until all is through, for a moment: a goodbye that is sent into a full queue is lost with what overflows it.
/// Whether anything was heard meanwhile.
async fn drain(link: &mut SenderLink, sent: u64) -> bool {
    let mut is_heard = false;
    let draining = async {
        while let Some(message) = link.incoming.recv().await {
            is_heard = true;
            if matches!(message, Message::Counted(counted) if counted.frames >= sent) {
                return;
            }
        }
    };
    let _ = timeout(DRAIN, draining).await;
    is_heard
}

/// Whether a receiver that is not heard answers a question. Frames that are slow to come through say nothing of it.
async fn is_there(link: &mut SenderLink) -> bool {
    let asking = async {
        let _ = link.messages.send(Message::ClockProbe(UnixNanos::now().0)).await;
        link.incoming.recv().await.is_some()
    };
    timeout(ANSWER, asking).await.unwrap_or(false)
}

impl Measured {
    /// What a transport counted between two looks.
    fn take_path(&mut self, before: &PathStats, after: &PathStats) {
        let sent = after.packets_sent.saturating_sub(before.packets_sent);
        let lost = after.packets_lost.saturating_sub(before.packets_lost);
        self.loss = (sent > 0).then(|| lost as f64 / sent as f64);
        self.datagram = after.datagram;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::transport::{LinkEnd, PathWatch, Transport, Via};
    use crate::wire::Capabilities;

    /// What is measured of a receiver that counts frames for so long, and answers questions for so long.
    async fn measured(counts: Duration, answers: Duration) -> (Option<TransportError>, Measured) {
        let (messages, mut far_messages) = mpsc::channel(8);
        let (frames, mut far_frames) = mpsc::channel(8);
        let (far_incoming, incoming) = mpsc::channel(8);
        let (path, address) = (PathWatch::new(PathStats::default), ([127, 0, 0, 1], 1).into());
        let via = Via { transport: Transport::Quic, address, why: None, link: None };
        let (end, _keeper) = LinkEnd::new();
        let mut link = SenderLink { messages, frames, incoming, end, path, via };
        let began = Instant::now();
        let far = tokio::spawn(async move {
            let mut counted = Counted { frames: 0, bytes: 0 };
            let mut tick = interval(Duration::from_millis(20));
            loop {
                tokio::select! {
                    message = far_messages.recv() => match message {
                        Some(Message::ClockProbe(asked)) if began.elapsed() < answers => {
                            let reply = Message::ClockReply { asked, arrived: 1, replied: 1 };
                            let _ = far_incoming.send(reply).await;
                        }
                        Some(_) => {}
                        None => return,
                    },
                    _ = tick.tick(), if began.elapsed() < counts => {
                        let Ok(frame) = far_frames.try_recv() else { continue };
                        let OutgoingFrame { header, .. } = frame;
                        counted.frames += 1;
                        counted.bytes += header.meta.bytes;
                        let _ = far_incoming.send(Message::Counted(counted)).await;
                    }
                }
            }
        });
        let welcome = Welcome {
            durable: false,
            replaces: false,
            max_frame: 1 << 20,
            max_unconfirmed_bytes: 1 << 20,
            max_unconfirmed_frames: 64,
            agent: "test".to_owned(),
            next: Vec::new(),
            capabilities: Capabilities::default(),
            join: None,
            unopened: Vec::new(),
        };
        let mut measured = Measured::default();
        let ended = load(&mut link, &welcome, Duration::from_secs(6), &mut measured).await;
        far.abort();
        (ended, measured)
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_dies_in_the_measurement_is_told_and_a_slow_one_is_measured() {
        let (two, ten, ages) =
            (Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(99));
        let (ended, _) = measured(two, two).await;
        let told = ended.expect("it died").to_string();
        assert!(told.contains("heard for 2.0 s") || told.contains("heard for 1.9 s"), "{told}");
        let (ended, of_all) = measured(ten, ten).await;
        assert!(ended.is_none() && of_all.rate_mbit.is_some(), "{ended:?}");
        // Nothing comes through any more, as behind a full queue, and it is there.
        let (ended, _) = measured(two, ages).await;
        assert!(ended.is_none(), "{ended:?}");
    }
}

//! Stand-ins for the two sessions, as small as they can be.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::frame::{FrameMeta, FrameName, RunId, Sequence, SourceName, UnixNanos};
use crate::transport::{Arrival, OutgoingFrame, ReceiverLink, SenderLink, TransportError};
use crate::wire::{
    Capabilities, CloseCode, EndOfRun, FrameHeader, Hello, Message, Offer, OfferEntry, Receipts,
    Refusal, RefusalCode, SourceHello, SourceId, Totals, Welcome,
};

/// Name and body.
pub(super) type Frames = Vec<(String, Vec<u8>)>;

/// What a receiving session has seen.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) source: Option<String>,
    /// Sequence, name and body, in the order of arrival.
    pub(super) frames: Vec<(u64, String, Vec<u8>)>,
    /// What the end of the source counted.
    pub(super) end: Option<u64>,
    /// Frames that the transport refused.
    pub(super) refused: Vec<(RefusalCode, String)>,
    pub(super) cause: TransportError,
}

impl Stored {
    pub(super) fn frames_alone(&self) -> Frames {
        self.frames.iter().map(|(_, name, body)| (name.clone(), body.clone())).collect()
    }
}

/// Confirms what arrives, but for what `verdict` refuses.
pub(super) async fn store(
    mut link: ReceiverLink,
    verdict: fn(&str) -> Option<RefusalCode>,
) -> Stored {
    let (mut source, mut frames, mut end, mut refused) = (None, Vec::new(), None, Vec::new());
    while let Some(arrival) = link.arrivals.recv().await {
        let reply = match arrival {
            Arrival::Message(Message::Hello(hello), _) => {
                source = Some(hello.sources[0].name.as_str().to_owned());
                welcome()
            }
            Arrival::Message(Message::EndOfRun(all), _) => {
                end = Some(all.captured);
                let stored = frames.len() as u64;
                Message::Totals(Totals { source: SourceId(0), stored, already: 0 })
            }
            Arrival::Message(other, _) => panic!("a script says {other:?}"),
            Arrival::Refused { code, reason, .. } => {
                refused.push((code, reason));
                continue;
            }
            Arrival::Frame(arrived) => {
                let meta = arrived.frame.meta;
                assert_eq!((meta.captured, meta.hash), (None, None));
                let body = arrived.frame.body.to_vec();
                frames.push((meta.sequence.0, meta.name.as_str().to_owned(), body));
                match verdict(meta.name.as_str()) {
                    None => {
                        let stored = UnixNanos::now();
                        Message::Receipts(Receipts::new(SourceId(0), stored, [meta.sequence]))
                    }
                    Some(code) => {
                        Message::Refusal(Refusal::new(SourceId(0), meta.sequence, code, "no"))
                    }
                }
            }
        };
        let _ = link.messages.send(reply).await;
    }
    Stored { source, frames, end, refused, cause: link.end.cause().await }
}

fn welcome() -> Message {
    Message::Welcome(Welcome {
        durable: false,
        replaces: true,
        max_frame: 1 << 20,
        max_unconfirmed_bytes: 1 << 20,
        max_unconfirmed_frames: 10,
        agent: "test".to_owned(),
        next: vec![Sequence(0)],
        capabilities: Capabilities::default(),
        join: None,
        unopened: Vec::new(),
    })
}

/// What a sending session has been told.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Frames confirmed, by source.
    pub(super) stored: BTreeMap<u8, Vec<u64>>,
    pub(super) refused: Vec<Refusal>,
    /// Totals by source.
    pub(super) totals: BTreeMap<u8, u64>,
    /// Why it ended, where that was before all totals had come.
    pub(super) cause: Option<TransportError>,
}

/// Offers the frames of all sources at once, and sends what is wanted.
pub(super) async fn send(mut link: SenderLink, sources: &[(&str, Frames)]) -> Sent {
    let mut sent = Sent::default();
    let mut room = 0;
    let mut ready: VecDeque<OutgoingFrame> = VecDeque::new();
    let names: Vec<_> = sources.iter().map(|(name, _)| *name).collect();
    link.messages.send(hello(&names)).await.unwrap();
    while sent.totals.len() < sources.len() {
        let message = tokio::select! {
            message = link.incoming.recv() => message,
            permit = link.frames.reserve(), if room > 0 && !ready.is_empty() => {
                room -= 1;
                match (permit, ready.pop_front()) {
                    (Ok(permit), Some(frame)) => permit.send(frame),
                    _ => break,
                }
                continue;
            }
        };
        match message {
            Some(Message::Welcome(welcome)) => {
                room = welcome.max_unconfirmed_frames;
                for (id, (_, frames)) in sources.iter().enumerate() {
                    let _ = link.messages.send(offer(id as u8, frames)).await;
                }
            }
            Some(Message::Answer(answer)) => {
                let frames = &sources[usize::from(answer.source.0)].1;
                let wanted: u64 = answer.runs.iter().map(|run| run.count).sum();
                assert_eq!(wanted, frames.len() as u64);
                ready.extend((0..frames.len()).map(|at| outgoing(answer.source.0, at, frames)));
            }
            Some(Message::Receipts(receipts)) => {
                room += 1;
                let stored = sent.stored.entry(receipts.source.0).or_default();
                stored.extend(receipts.runs.iter().map(|run| run.first.0));
                end_if_all(&link, &sent, sources, receipts.source).await;
            }
            Some(Message::Refusal(refusal)) => {
                room += 1;
                let source = refusal.source;
                sent.refused.push(refusal);
                end_if_all(&link, &sent, sources, source).await;
            }
            Some(Message::Totals(totals)) => {
                sent.totals.insert(totals.source.0, totals.stored);
            }
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                sent.cause = Some(link.end.cause().await);
                return sent;
            }
        }
    }
    link.end.close(CloseCode::Done, "").await;
    sent
}

async fn end_if_all(link: &SenderLink, sent: &Sent, sources: &[(&str, Frames)], source: SourceId) {
    let frames = sources[usize::from(source.0)].1.len();
    let stored = sent.stored.get(&source.0).map_or(0, Vec::len);
    let refused = sent.refused.iter().filter(|refusal| refusal.source == source).count();
    if stored + refused == frames {
        let _ = link.messages.send(end_of_run(source, frames as u64, refused as u64)).await;
    }
}

pub(super) fn hello(names: &[&str]) -> Message {
    let source = |name: &&str| {
        SourceHello::new(SourceName::parse(name).unwrap(), RunId([1; 16]), UnixNanos(1))
    };
    let (sources, agent) = (names.iter().map(source).collect(), "test".to_owned());
    let capabilities = Capabilities::default();
    Message::Hello(Hello { session: [0; 16], overwrite: false, agent, sources, capabilities })
}

/// The end of a source's run of so many frames, some of them lost.
pub(super) fn end_of_run(source: SourceId, captured: u64, lost_count: u64) -> Message {
    let (run, first, ended, lost) = (RunId([1; 16]), Sequence(0), UnixNanos(2), Vec::new());
    Message::EndOfRun(EndOfRun { source, run, first, captured, ended, lost, lost_count })
}

fn offer(source: u8, frames: &Frames) -> Message {
    let entries = (0..frames.len()).map(|at| {
        let meta = outgoing(source, at, frames).header.meta;
        let FrameMeta { sequence, name, bytes, .. } = meta;
        OfferEntry { sequence, name, bytes, modified: None, hash: None }
    });
    Message::Offer(Offer { source: SourceId(source), entries: entries.collect() })
}

pub(super) fn outgoing(source: u8, at: usize, frames: &Frames) -> OutgoingFrame {
    let (name, body) = &frames[at];
    let name = FrameName::parse(name).unwrap();
    let media = name.media_type();
    let meta = FrameMeta {
        sequence: Sequence(at as u64),
        name,
        bytes: body.len() as u64,
        hash: None,
        captured: None,
        due: None,
        modified: None,
        media,
    };
    let header = FrameHeader { source: SourceId(source), meta, repair: None };
    OutgoingFrame {
        header,
        body: Bytes::from(body.clone()),
        priority: 0,
        late: None,
        deadline: None,
        moot: None,
    }
}

/// `count` frames of different lengths and contents.
pub(super) fn frames(count: usize, ending: &str) -> Frames {
    (0..count)
        .map(|at| {
            let body = (0..3 + at * 1_000).map(|byte| (byte + at) as u8).collect();
            (format!("{at}.{ending}"), body)
        })
        .collect()
}

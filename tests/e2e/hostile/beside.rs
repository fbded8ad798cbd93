//! What a good sender gets beside 63 others that ask for much and mean no good.

use std::time::Duration;

use framelane::frame::{Sequence, UnixNanos};
use framelane::wire::{EndOfRun, LostFrame, Message, Offer, OfferEntry, SourceId};
use quinn::Endpoint;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::fair::{
    HOSTILE, MEMORY, Pins, assert_fair, begin_streams, beginning, hostile, hostile_sessions,
    processor_ticks,
};
use super::peer::{self, Peer, header, hello, run_of};
use crate::support::{Place, Receiver};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crumbs_that_drip() {
    for pins in [Pins::One, Pins::Each] {
        crumbs(pins).await;
    }
}

async fn crumbs(pins: Pins) {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    assert_fair(&place, &receiver, async || {
        let peers = hostile_sessions(&place, &receiver, pins).await;
        let mut dripping = JoinSet::new();
        for peer in &peers {
            let connection = peer.connection.clone();
            dripping.spawn(async move {
                let mut streams = begin_streams(&connection, &beginning(60_000, 1), 2_200).await;
                loop {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    for stream in streams.iter_mut().take(100) {
                        let _ = stream.write_all(&[1]).await;
                    }
                }
            });
        }
        (peers, dripping)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_come_and_go() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    assert_fair(&place, &receiver, async || {
        place.identity("hostile-0");
        let address = receiver.address();
        let mut storm = JoinSet::new();
        // Every connection is opened from the same few sockets, so that the machine has some left.
        for number in 0..8 {
            let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
            let config = peer::config(&place, address, &hostile(0));
            storm.spawn(async move {
                for round in 0.. {
                    let connecting = endpoint.connect_with(config.clone(), address, "localhost");
                    let Ok(connection) = connecting.expect("a valid configuration").await else {
                        continue;
                    };
                    if let Ok((mut out, _)) = connection.open_bi().await {
                        let source = format!("storm-{number}-{}", round % 20);
                        let _ = out.write_all(&hello(&[&source]).encode()).await;
                    }
                    connection.close(0_u32.into(), b"");
                }
            });
        }
        storm
    })
    .await;
}

/// The end of the source's run with as many names of lost frames as fit.
fn many_lost(source: &str) -> Message {
    let lost = |number| LostFrame { sequence: Sequence(number), name: "x".repeat(480) };
    Message::EndOfRun(EndOfRun {
        source: SourceId(0),
        run: run_of(source),
        first: Sequence(0),
        captured: 1_024,
        ended: UnixNanos(2),
        lost: (0..1_024).map(lost).collect(),
        lost_count: 1_024,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_lost_frames() {
    let place = Place::new();
    // A busy machine may take long to open so many sessions before they say anything.
    let stall = ["--stall", "120s"];
    let receiver =
        Receiver::start(&place, &[&["--allow", "any", "--memory", MEMORY], &stall[..]].concat());
    assert_fair(&place, &receiver, async || {
        for _ in 0..2 {
            let (mut peers, mut answered) = (Vec::new(), 0);
            for number in 0..HOSTILE {
                // Each says it at once: on a busy machine a session may be over before all others are there.
                let source = format!("hostile-{number}");
                let mut peer = Peer::welcomed_as(&place, &receiver, &[&source], &hostile(0)).await;
                peer.say(&many_lost(&source)).await;
                // Where those of the round before are still leaving, one that is idle gives way to the next.
                match peer.hear_or_end().await {
                    Some(Message::Totals(_)) => answered += 1,
                    Some(other) => panic!("no totals but {other:?}"),
                    None => continue,
                }
                peers.push(peer);
            }
            assert!(answered > HOSTILE / 2, "{answered} of {HOSTILE} were heard");
            for peer in peers {
                peer.leave().await;
            }
        }
    })
    .await;
    let said = receiver.interrupt().stderr.len();
    println!("{said} bytes of log");
    assert!(said < 4 << 20, "{said} bytes of log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_of_files_whose_times_have_changed() {
    const FILES: u64 = 8;
    const BYTES: usize = 16 << 20;
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    let body = vec![3; BYTES];
    let mut peer = Peer::with(&place, &receiver, &hostile(0)).await;
    peer.say(&hello(&["hoard"])).await;
    assert!(matches!(peer.hear().await, Message::Welcome(_)));
    for sequence in 0..FILES {
        peer.send(&header(0, sequence, &body), &body).await;
        assert!(matches!(peer.hear().await, Message::Receipts(_)));
        // As a copy that does not keep times leaves it.
        let path = place.store().join("hoard").join(format!("{sequence}.bin"));
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(60)).unwrap();
    }
    let entry = |sequence| OfferEntry {
        sequence: Sequence(sequence),
        name: framelane::frame::FrameName::parse(&format!("{sequence}.bin")).unwrap(),
        bytes: BYTES as u64,
        modified: None,
        hash: None,
    };
    let offer = Offer { source: SourceId(0), entries: (0..FILES).map(entry).collect() };
    let offer = Message::Offer(offer);
    // The first answer has them read.
    peer.say(&offer).await;
    assert!(matches!(peer.hear().await, Message::Answer(_)));
    let before = processor_ticks(&receiver);
    assert_fair(&place, &receiver, async || {
        for _ in 0..50 {
            peer.say(&offer).await;
            assert!(matches!(peer.hear().await, Message::Answer(_)));
        }
        if let (Some(before), Some(after)) = (before, processor_ticks(&receiver)) {
            println!("{} ticks", after - before);
        }
    })
    .await;
}

#[tokio::test]
async fn idle_sessions_of_one_sender_give_way() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any"]);
    let mut idle = hostile_sessions(&place, &receiver, Pins::One).await;
    let mut last = Peer::with(&place, &receiver, &hostile(0)).await;
    last.say(&hello(&["hostile-last"])).await;
    assert!(matches!(last.hear().await, Message::Welcome(_)));
    idle.push(last);
    // All 64 places are taken, and yet others are served at once.
    receiver.assert_serves(&[]);
    let (code, why) = idle[0].closed().await;
    assert_eq!(code, framelane::wire::CloseCode::Busy, "{why}");
    assert!(why.contains("another sender"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_over_tcp() {
    let place = Place::new();
    let args = ["--transport", "tcp"];
    let receiver = Receiver::start(&place, &args);
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(receiver.address()).await.unwrap());
    }
    receiver.assert_serves(&["--transport", "tcp"]);
    drop(silent);
}

#[tokio::test]
async fn sources_one_after_the_other_need_no_more_files_than_there_are() {
    let place = Place::new();
    let mut command = place.command(&Receiver::arguments(&[]));
    limit_files(&mut command, 48);
    let receiver = Receiver::of(&place, crate::support::Process::start(command), 1);
    for number in 0..40 {
        let mut peer = Peer::welcomed(&place, &receiver, &[&format!("source-{number}")]).await;
        peer.send(&header(0, 0, b"body"), b"body").await;
        assert!(matches!(peer.hear().await, Message::Receipts(_)), "source {number}");
        peer.leave().await;
    }
}

/// Has a program started under a limit of open files.
fn limit_files(command: &mut std::process::Command, files: u32) {
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_owned()).collect();
    let folder = command.get_current_dir().map(|folder| folder.to_owned());
    let variables: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let script = format!("ulimit -n {files}; ulimit -Hn {files}; exec \"$0\" \"$@\"");
    let mut limited = std::process::Command::new("sh");
    limited.arg("-c").arg(script).arg(program).args(arguments).envs(variables);
    if let Some(folder) = folder {
        limited.current_dir(folder);
    }
    *command = limited;
}

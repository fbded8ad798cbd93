//! What a good sender gets beside 63 others that mean no good: its first frame is stored soon, it goes on at
//! its fair share at least, and the receiver's memory stays bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framelane::frame::{RunId, Sequence, UnixNanos};
use framelane::identity::{EarlyData, ReceiverAddress, ReceiverTrust, client_config};
use framelane::wire::{ALPN, EndOfRun, LostFrame, Message, Offer, OfferEntry, SourceId, record};
use quinn::{Connection, Endpoint, SendStream};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::peer::{self, Options, Peer, header, hello, wire, within};
use crate::support::{Place, Receiver};

/// How many mean no good.
const HOSTILE: usize = 63;

/// What the receiver may hold: its `--memory` and this.
const BESIDE_MEMORY_KIB: u64 = 64 * 1024;
const MEMORY: &str = "128MiB";
const MEMORY_KIB: u64 = 128 * 1024;

/// The time in which a good sender's first frame is stored, on a machine that is not busy with more.
const FIRST: Duration = Duration::from_secs(2);

/// How long goodput is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// A camera's frame.
const FRAME_BYTES: usize = 60_000;

/// Frames that a good sender has under way at once.
const UNDER_WAY: u64 = 16;

fn hostile() -> Options {
    Options { identity: "hostile", ..Options::default() }
}

/// What a good sender got.
#[derive(Debug, Clone, Copy)]
struct Served {
    first: Duration,
    bytes_a_second: f64,
}

/// Sends frames of one source for a while, as many at once as a window has.
async fn serve_good(place: &Place, receiver: &Receiver<'_>, source: &str) -> Served {
    let body = vec![7; FRAME_BYTES];
    let start = Instant::now();
    let mut peer = Peer::welcomed(place, receiver, &[source]).await;
    let (mut sent, mut confirmed, mut first) = (0, 0, None);
    while start.elapsed() < MEASURED || first.is_none() {
        while sent < confirmed + UNDER_WAY {
            peer.send(&header(0, sent, &body), &body).await;
            sent += 1;
        }
        match peer.hear().await {
            Message::Receipts(receipts) => {
                confirmed += receipts.runs.iter().map(|run| run.count).sum::<u64>();
                first.get_or_insert_with(|| start.elapsed());
            }
            other => panic!("no receipts but {other:?}"),
        }
    }
    let bytes_a_second = (confirmed * FRAME_BYTES as u64) as f64 / start.elapsed().as_secs_f64();
    peer.leave().await;
    Served { first: first.unwrap_or_default(), bytes_a_second }
}

/// Measures a good sender alone and then beside what `begin` has begun, which is kept meanwhile.
async fn assert_fair<T>(
    place: &Place,
    receiver: &Receiver<'_>,
    begin: impl AsyncFnOnce() -> T,
) -> T {
    /// Each of these tests takes all of a machine.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_AT_A_TIME.lock().await;
    let alone = serve_good(place, receiver, "alone").await;
    let others = begin().await;
    let beside = serve_good(place, receiver, "beside").await;
    let peak = peak_kib(receiver);
    println!("alone {alone:?}, beside {beside:?}, peak {peak} KiB");
    // A machine that is busy with other programs is slow alone as well.
    let limit = FIRST.max(15 * alone.first);
    assert!(beside.first <= limit, "the first frame took {:?}", beside.first);
    let fair = alone.bytes_a_second / (HOSTILE + 1) as f64 / 2.0;
    assert!(beside.bytes_a_second >= fair, "{} of {fair} bytes/s", beside.bytes_a_second);
    assert!(peak <= MEMORY_KIB + BESIDE_MEMORY_KIB, "the receiver held {peak} KiB");
    others
}

/// The most memory that the receiver has held; 0 where the system does not tell.
fn peak_kib(receiver: &Receiver<'_>) -> u64 {
    let path = format!("/proc/{}/status", receiver.process().pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().expect("a number"))
}

/// Sessions of one certificate, each with a source of its own.
async fn hostile_sessions(place: &Place, receiver: &Receiver<'_>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in 0..HOSTILE {
        let mut peer = Peer::with(place, receiver, &hostile()).await;
        peer.say(&hello(&[&format!("hostile-{number}")])).await;
        assert!(matches!(peer.hear().await, Message::Welcome(_)));
        peers.push(peer);
    }
    peers
}

/// Opens as many streams as the peer lets it and writes a beginning on each; keeps them.
async fn begin_streams(connection: &Connection, start: &[u8], most: usize) -> Vec<SendStream> {
    let mut streams = Vec::new();
    while streams.len() < most {
        let opened = tokio::time::timeout(Duration::from_millis(100), connection.open_uni());
        let Ok(Ok(mut stream)) = opened.await else { break };
        let written = stream.write_all(start);
        let _ = tokio::time::timeout(Duration::from_millis(100), written).await;
        streams.push(stream);
    }
    streams
}

/// The start of a frame of so many bytes.
fn beginning(announced: u64, sent: usize) -> bytes::Bytes {
    let mut header = header(0, 0, b"");
    header.meta.bytes = announced;
    wire(&header, &vec![1; sent])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crumbs_that_drip() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    assert_fair(&place, &receiver, async || {
        let peers = hostile_sessions(&place, &receiver).await;
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
async fn half_bodies_over_quic() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    assert_fair(&place, &receiver, async || {
        let peers = hostile_sessions(&place, &receiver).await;
        let mut filling = JoinSet::new();
        let start = beginning(64 << 20, 32 << 20);
        for peer in &peers {
            let (connection, start) = (peer.connection.clone(), start.clone());
            filling.spawn(async move {
                let streams = begin_streams(&connection, &start, 4).await;
                std::future::pending::<()>().await;
                drop(streams);
            });
        }
        (peers, filling)
    })
    .await;
}

/// A session over TCP, which has said hello.
async fn tcp_session(
    place: &Place,
    address: std::net::SocketAddr,
    source: &str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let trust =
        ReceiverTrust::pinned(ReceiverAddress::from(address), place.identity("receiver").pin());
    let tls = client_config(&place.identity("hostile"), trust, &[ALPN], EarlyData::Off);
    let connector = tokio_rustls::TlsConnector::from(tls.tcp());
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = within("TLS", connector.connect(name, socket)).await.unwrap();
    let Message::Hello(mut hello) = hello(&[source]) else { unreachable!() };
    hello.session = rand_id(source);
    stream.write_all(&record::message(&Message::Hello(hello))).await.unwrap();
    stream
}

/// A session's name that no other has.
fn rand_id(source: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(source.as_bytes()).as_bytes()[..16]);
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_over_tcp() {
    let place = Place::new();
    let args = ["--allow", "any", "--memory", MEMORY, "--transport", "quic", "--transport", "tcp"];
    let receiver = Receiver::start(&place, &args);
    assert_fair(&place, &receiver, async || {
        let mut filling = JoinSet::new();
        let half = vec![1; 32 << 20];
        let half = Arc::new(half);
        for number in 0..HOSTILE {
            let source = format!("hostile-{number}");
            let mut stream = tcp_session(&place, receiver.address(), &source).await;
            let mut announced = header(0, 0, b"");
            announced.meta.bytes = 64 << 20;
            let start = record::frame(&announced).unwrap();
            let half = half.clone();
            filling.spawn(async move {
                let _ = stream.write_all(&start).await;
                let _ = stream.write_all(&half).await;
                let _ = stream.flush().await;
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
        filling
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_come_and_go() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    assert_fair(&place, &receiver, async || {
        place.identity("hostile");
        let address = receiver.address();
        let mut storm = JoinSet::new();
        // Every connection is opened from the same few sockets, so that the machine has some left.
        for number in 0..8 {
            let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
            let config = peer::config(&place, address, &hostile());
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

/// The end of a run with as many names of lost frames as fit.
fn many_lost() -> Message {
    let lost = |number| LostFrame { sequence: Sequence(number), name: "x".repeat(480) };
    Message::EndOfRun(EndOfRun {
        source: SourceId(0),
        run: RunId([1; 16]),
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
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    let end = many_lost();
    assert_fair(&place, &receiver, async || {
        for _ in 0..2 {
            for mut peer in hostile_sessions(&place, &receiver).await {
                peer.say(&end).await;
                assert!(matches!(peer.hear().await, Message::Totals(_)));
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
    let mut peer = Peer::with(&place, &receiver, &hostile()).await;
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

/// Processor time that the receiver has used, in ticks.
fn processor_ticks(receiver: &Receiver<'_>) -> Option<u64> {
    let path = format!("/proc/{}/stat", receiver.process().pid());
    let stat = std::fs::read_to_string(path).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[tokio::test]
async fn idle_sessions_of_one_sender_give_way() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any"]);
    let mut idle = hostile_sessions(&place, &receiver).await;
    let mut last = Peer::with(&place, &receiver, &hostile()).await;
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

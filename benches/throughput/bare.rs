//! The yardstick: quinn alone, with framelane's settings. A stream for each frame from memory, read as it comes and
//! thrown away: nothing is read from a file, hashed, confirmed or stored.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use framelane::congestion::Congestion;
use framelane::transport::quic::settings;
use framelane::transport::worker_threads;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, TokioRuntime, VarInt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where the receiver leaves its certificate for the sender.
const CERTIFICATE: &str = "bare.der";
/// The most that is taken from a stream in one call.
const READ_BYTES: usize = 256 * 1_024;
/// Frames underway at most, and bytes of them.
const MOST_FRAMES: u64 = 1_024;
const MOST_BYTES: u64 = 24 << 20;

/// Says where it listens, and reads all that comes over one connection.
pub(crate) fn receive(folder: &Path) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let endpoint = listen(folder)?;
        println!("listening on {}", endpoint.local_addr()?);
        std::io::stdout().flush()?;
        let incoming = endpoint.accept().await.context("nobody comes")?;
        let connection = incoming.await?;
        while let Ok(stream) = connection.accept_uni().await {
            tokio::spawn(drain(stream));
        }
        Ok(())
    })
}

async fn drain(mut stream: RecvStream) {
    while let Ok(Some(_)) = stream.read_chunk(READ_BYTES, false).await {}
}

fn listen(folder: &Path) -> anyhow::Result<Endpoint> {
    let made = rcgen::generate_simple_self_signed(vec!["bare".to_owned()])?;
    let certificate = made.cert.der().clone();
    fs::write(folder.join(CERTIFICATE), &certificate)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = quinn::ServerConfig::with_single_cert(vec![certificate], key.into())?;
    config.transport_config(settings::transport(Congestion::default().factory()));
    let socket = settings::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let endpoint = settings::dialling_endpoint();
    Ok(Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime))?)
}

/// Sends frames, and waits until the other end's transport has all of them.
pub(crate) fn send(
    folder: &Path,
    to: SocketAddr,
    count: u64,
    frame_bytes: usize,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (endpoint, connection) = connect(folder, to).await?;
        let body = Bytes::from(vec![7; frame_bytes]);
        let each = (MOST_BYTES / frame_bytes.max(1) as u64).clamp(2, MOST_FRAMES);
        let room = Arc::new(Semaphore::new(usize::try_from(each)?));
        let mut sending = JoinSet::new();
        for _ in 0..count {
            let place = room.clone().acquire_owned().await?;
            let mut stream = connection.open_uni().await?;
            let body = body.clone();
            sending.spawn(async move {
                stream.write_chunk(body).await?;
                stream.finish()?;
                let stopped = stream.stopped().await?;
                drop(place);
                anyhow::Ok(stopped.is_none())
            });
            while let Some(sent) = sending.try_join_next() {
                ensure!(sent??, "a stream was refused");
            }
        }
        while let Some(sent) = sending.join_next().await {
            ensure!(sent??, "a stream was refused");
        }
        connection.close(VarInt::from_u32(0), b"done");
        endpoint.wait_idle().await;
        Ok(())
    })
}

async fn connect(folder: &Path, to: SocketAddr) -> anyhow::Result<(Endpoint, Connection)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(folder.join(CERTIFICATE))?))?;
    let tls = quinn::rustls::ClientConfig::builder_with_provider(Arc::new(
        quinn::rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&quinn::rustls::version::TLS13])?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(settings::transport_to(to, Congestion::default().factory()));
    let socket = settings::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let settings: EndpointConfig = settings::dialling_endpoint();
    let endpoint = Endpoint::new(settings, None, socket, Arc::new(TokioRuntime))?;
    let connection = endpoint.connect_with(config, to, "bare")?.await?;
    Ok((endpoint, connection))
}

fn runtime() -> anyhow::Result<Runtime> {
    // As many threads as framelane's own ends have.
    Ok(Builder::new_multi_thread().worker_threads(worker_threads()).enable_all().build()?)
}

//! Connections: few, with bounded heads and bounded patience, on threads that come behind all others.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::Router;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::Shown;
use super::access::Access;
use super::census;
use super::error::ViewError;
use super::gallery::Gallery;
use super::lobby::Lobby;
use super::routes::{Place, router};

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// How long the head of a request may take, and how long a connection may be idle between two.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a request's head, and what hyper puts together before it writes.
const MAX_HEAD: usize = 16 * 1024;

const MAX_HEADERS: usize = 64;

/// Bytes that the kernel takes of a connection beyond what is on its way: what is chosen after them is newer.
const UNSENT: u32 = 16 * 1024;

/// A peer that acknowledges nothing for so long is gone.
const DEAD_AFTER: Duration = Duration::from_secs(120);

/// How far these threads stand behind: a transfer that needs the processors has them.
const NICENESS: i32 = 10;

const WORKERS: usize = 2;
const BLOCKING: usize = 4;

/// What answers each connection.
type Service = TowerToHyperService<Router>;

/// The threads of a view; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // What is read from a disk that hangs is not waited for.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Listens, and serves on threads of its own.
pub(super) fn start(
    address: SocketAddr,
    access: Arc<Access>,
    shown: Shown,
) -> Result<(Running, SocketAddr), ViewError> {
    let failed = |cause| ViewError::Listen { address, cause };
    let listener = StdListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("view")
        .on_thread_start(stand_back)
        .enable_all()
        .build()
        .map_err(ViewError::Threads)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(failed)?
    };
    let place = Place { gallery: Arc::new(Gallery::new(shown)), access };
    runtime.spawn(census::watch_disk(place.gallery.clone()));
    runtime.spawn(census::count_stored(place.gallery.clone()));
    runtime.spawn(accept(listener, place));
    Ok((Running(Some(runtime)), bound))
}

/// On Linux a thread has a niceness of its own. Where it cannot be had, it goes without, which is said once.
fn stand_back() {
    static SAID: Once = Once::new();
    if let Err(error) = setpriority_process(Some(gettid()), NICENESS) {
        SAID.call_once(|| {
            tracing::warn!(
                "the view's threads do not stand back behind the transfer: {error} (setpriority)"
            );
        });
    }
}

async fn accept(listener: TcpListener, place: Place) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (access, lobby) = (place.access.clone(), Lobby::default());
    let service = Service::new(router(place));
    loop {
        // Nobody closes it.
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let (stream, viewer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No more files, as a rule: that may pass.
                tracing::debug!(%error, "the view could not take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Who has enough of them is told by the end of this one.
        let Some(entry) = lobby.enter(viewer.ip()) else { continue };
        let (service, access) = (service.clone(), access.clone());
        tokio::spawn(async move {
            let _held = (seat, entry);
            prepare(&stream);
            let Some(tls) = access.tls() else {
                return serve(TokioIo::new(stream), service).await;
            };
            if let Some(stream) = tls.accept(stream, viewer, HEAD_PATIENCE).await {
                serve(TokioIo::new(stream), service).await;
            }
        });
    }
}

async fn serve(io: impl Read + Write + Unpin + Send + 'static, service: Service) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a viewer has gone");
    }
}

/// What cannot be set is done without: it is for those who are slow.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_notsent_lowat(UNSENT);
        let _ = socket.set_tcp_user_timeout(Some(DEAD_AFTER));
    }
}

//! A network namespace: its making, and threads that move into it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::{self, Device};
use super::privilege::{Privilege, network_namespace_refused};
use super::{EmulationError, setup, syscalls};

/// The largest TCP buffer at either end: four times the bandwidth-delay product of 100 Mbit/s and
/// 300 ms, so that no link worth comparing is limited by it.
const TCP_BUFFERS: &str = "4096 131072 16777216";

/// What differs from the kernel's defaults, the same at both ends. Older kernels lack some, and
/// containers may forbid others; none is worth giving up the link for.
const SETTINGS: [(&str, &str); 7] = [
    ("ipv4/tcp_rmem", TCP_BUFFERS),
    ("ipv4/tcp_wmem", TCP_BUFFERS),
    // A connection must not start from what the one before it learned.
    ("ipv4/tcp_no_metrics_save", "1"),
    // Frames come with pauses, which must not close TCP's window.
    ("ipv4/tcp_slow_start_after_idle", "0"),
    // With two links side by side, what comes over one for an address of the other is taken.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Router solicitations and their like are not traffic that anybody asked to see counted.
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// A network namespace of the link. Cheap to clone; it exists as long as a handle to it, a thread
/// in it or the link itself.
#[derive(Debug, Clone)]
pub struct NamespaceHandle(Arc<Files>);

#[derive(Debug)]
struct Files {
    namespace: File,
    /// The kernel's counts of the namespace's devices.
    counts: Option<File>,
}

/// A new namespace with its end of the link.
pub(super) struct Stack {
    pub(super) handle: NamespaceHandle,
    /// One for each path.
    pub(super) devices: Vec<Device>,
}

impl Stack {
    /// Makes a namespace, a device in it, and configures both.
    pub(super) fn create(
        privilege: Privilege,
        addresses: &[Ipv4Addr],
    ) -> Result<Self, EmulationError> {
        // A thread of its own, since it cannot come back from where it goes.
        on_thread("set-up failed", || create(privilege, addresses))
    }
}

/// Runs `work` on a thread of its own and waits for it; `failed` is what is said of a panic.
fn on_thread<T: Send>(
    failed: &str,
    work: impl FnOnce() -> Result<T, EmulationError> + Send,
) -> Result<T, EmulationError> {
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, work);
        let ended = started.map_err(setup("start a thread"))?.join();
        ended.unwrap_or_else(|_| Err(EmulationError::Stopped { reason: failed.to_owned() }))
    })
}

fn create(_privilege: Privilege, addresses: &[Ipv4Addr]) -> Result<Stack, EmulationError> {
    syscalls::new_network_namespace().map_err(network_namespace_refused)?;
    let namespace = File::open("/proc/thread-self/ns/net").map_err(setup("open the namespace"))?;
    for (name, value) in SETTINGS {
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            tracing::debug!(name, %error, "this setting of the emulated link is left as it is");
        }
    }
    let control = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(|error| setup("open a control socket")(error.into()))?;
    syscalls::set_up(&control, "lo").map_err(|error| setup("take lo up")(error.into()))?;
    let paths = addresses.iter().enumerate();
    let device =
        |(path, &address)| device::create(control.as_fd(), &device::name_of(path), address);
    let devices = paths.map(device).collect::<Result<Vec<_>, _>>()?;
    // The thread's own view: the file stays tied to this namespace when the thread is gone.
    let counts = File::open("/proc/thread-self/net/dev").ok();
    Ok(Stack { handle: NamespaceHandle(Arc::new(Files { namespace, counts })), devices })
}

impl NamespaceHandle {
    /// Moves the calling thread into the namespace, for good: sockets that it opens from now on
    /// are at this end of the link. Sockets stay where they were opened, whoever uses them.
    ///
    /// Made for `on_thread_start` of a multi-threaded runtime; the thread that calls `block_on`
    /// is not one of the runtime's and must enter by itself if it opens sockets.
    ///
    /// # Errors
    /// [`EmulationError::Setup`].
    pub fn enter_current_thread(&self) -> Result<(), EmulationError> {
        move_into_link_name_space(self.0.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| setup("enter the namespace")(error.into()))
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    ///
    /// # Errors
    /// [`EmulationError`] if the thread cannot enter, or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, EmulationError> {
        on_thread("a panic", || self.enter_current_thread().map(|()| work()))
    }

    /// Packets that the device dropped because this process did not read them in time.
    pub(super) fn dropped_sending(&self, path: usize) -> u64 {
        self.count(path, 11)
    }

    /// Packets that the kernel dropped on their way from the device to a socket.
    pub(super) fn dropped_receiving(&self, path: usize) -> u64 {
        self.count(path, 3)
    }

    /// A column of a device's line in `/proc/net/dev`; 0 where that cannot be read.
    fn count(&self, path: usize, column: usize) -> u64 {
        let Some(file) = &self.0.counts else { return 0 };
        let mut text = [0; 4_096];
        let length = file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        let name = format!("{}:", device::name_of(path));
        let columns = text.lines().find_map(|line| line.trim().strip_prefix(&name));
        columns.and_then(|line| line.split_whitespace().nth(column)?.parse().ok()).unwrap_or(0)
    }
}

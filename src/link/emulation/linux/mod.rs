//! Two network namespaces, a TUN device in each, and a thread between them.
//!
//! Nothing has a name outside this process: the namespaces live by open files and the devices by
//! theirs, so that the end of the process, by whatever cause, is the end of all of it.

mod congestion;
mod device;
mod mover;
mod namespace;
mod nat;
mod privilege;
mod queue_length;
mod syscalls;

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use congestion::available_congestion_controls;
pub use namespace::NamespaceHandle;
pub use privilege::{Privilege, enter_user_namespace};

use super::{EmulationError, FAR_ADDR, LinkStats, NEAR_ADDR};
use crate::link::{Direction, LinkSpec, Pipe};
use mover::{Mover, Pipes};
use namespace::Stack;

/// What failed, for `map_err`.
fn setup(step: &'static str) -> impl Fn(io::Error) -> EmulationError {
    move |cause| EmulationError::Setup { step, cause }
}

/// A running emulated link. Dropping it takes the link, its devices and (once no thread is left in
/// them) its namespaces away.
#[derive(Debug)]
pub struct Emulation {
    near: NamespaceHandle,
    far: NamespaceHandle,
    /// One for each path, with what is in force on it.
    paths: Vec<(Mover, Mutex<Run>)>,
}

/// What belongs to the specification in force.
#[derive(Debug, Clone, Copy)]
struct Run {
    seed: u64,
    /// What the devices had dropped in each direction before it.
    dropped_before: [u64; 2],
}

impl Emulation {
    /// Makes both namespaces with their devices, and starts to move packets.
    ///
    /// Both ends have loopback, an MTU of 1,500 bytes, TCP buffers of up to 16 MiB, and a TCP that
    /// remembers nothing of earlier connections. UDP buffers are another matter: the largest one
    /// (`net.core.rmem_max`, `net.core.wmem_max`) is the whole machine's and cannot be set from
    /// here, so asking for 8 MB of `SO_RCVBUF` may give less: read it back. A fast burst into a
    /// smaller buffer is dropped by the receiving socket, which no count of the link shows.
    ///
    /// # Errors
    /// [`EmulationError`], saying what the system forbids and how to allow it.
    pub fn start(privilege: Privilege, spec: &LinkSpec) -> Result<Self, EmulationError> {
        Self::start_paths(privilege, std::slice::from_ref(spec))
    }

    /// The same with several links side by side between the two ends: devices `link`, `link1`, and so on, each with
    /// an address of its own at both ends ([`near_addr_of`](Self::near_addr_of)). Routes are the caller's.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_paths(privilege: Privilege, specs: &[LinkSpec]) -> Result<Self, EmulationError> {
        let addresses =
            |first| (0..specs.len()).map(|path| address_of(first, path)).collect::<Vec<_>>();
        let near = Stack::create(privilege, &addresses(NEAR_ADDR))?;
        let far = Stack::create(privilege, &addresses(FAR_ADDR))?;
        let devices = near.devices.into_iter().zip(far.devices);
        let mut paths = Vec::with_capacity(specs.len());
        for (spec, (near, far)) in specs.iter().zip(devices) {
            let (pipes, seed) = pipes(spec);
            let mover = Mover::start([near, far], pipes)?;
            paths.push((mover, Mutex::new(Run { seed, dropped_before: [0; 2] })));
        }
        Ok(Self { near: near.handle, far: far.handle, paths })
    }

    /// Puts another link between the same two ends: what is on its way is dropped, the counts and
    /// the clock (for outages and traces) start over. Returns the seed in use.
    ///
    /// Open connections survive and see the new link.
    ///
    /// # Errors
    /// [`EmulationError::Stopped`] if the link no longer runs.
    pub fn replace(&self, spec: &LinkSpec) -> Result<u64, EmulationError> {
        self.replace_path(0, spec)
    }

    /// The same for one of several paths.
    ///
    /// # Errors
    /// [`EmulationError::Stopped`] if there is no such path, or it no longer runs.
    pub fn replace_path(&self, path: usize, spec: &LinkSpec) -> Result<u64, EmulationError> {
        let (mover, run) = self.path(path)?;
        let (pipes, seed) = pipes(spec);
        mover.replace(pipes)?;
        *lock(run) = Run { seed, dropped_before: self.dropped_by_devices(path) };
        Ok(seed)
    }

    /// Has an address translator on a path forget its mappings: the near end's ports look like others from now
    /// on, and what comes for the old ones is dropped.
    ///
    /// # Errors
    /// [`EmulationError::Stopped`] if there is no such path, or it no longer runs.
    pub fn forget_mappings(&self, path: usize) -> Result<(), EmulationError> {
        self.path(path)?.0.forget_mappings()
    }

    /// Has a firewall on a path drop what is UDP, both ways, or let it through again.
    ///
    /// # Errors
    /// [`EmulationError::Stopped`] if there is no such path, or it no longer runs.
    pub fn block_udp(&self, path: usize, block: bool) -> Result<(), EmulationError> {
        self.path(path)?.0.block_udp(block)
    }

    fn path(&self, path: usize) -> Result<&(Mover, Mutex<Run>), EmulationError> {
        let none = || EmulationError::Stopped { reason: format!("it has no path {path}") };
        self.paths.get(path).ok_or_else(none)
    }

    /// The sender's address on a path.
    pub fn near_addr_of(&self, path: usize) -> Ipv4Addr {
        address_of(NEAR_ADDR, path)
    }

    /// The receiver's address on a path.
    pub fn far_addr_of(&self, path: usize) -> Ipv4Addr {
        address_of(FAR_ADDR, path)
    }

    /// The name of a path's device, at both ends.
    pub fn device_of(&self, path: usize) -> String {
        device::name_of(path)
    }

    /// The sender's namespace.
    pub fn near(&self) -> &NamespaceHandle {
        &self.near
    }

    /// The receiver's namespace.
    pub fn far(&self) -> &NamespaceHandle {
        &self.far
    }

    /// The sender's address.
    pub fn near_addr(&self) -> Ipv4Addr {
        NEAR_ADDR
    }

    /// The receiver's address.
    pub fn far_addr(&self) -> Ipv4Addr {
        FAR_ADDR
    }

    /// The seed of every random decision since the specification was last set: `seed=N` in a
    /// specification repeats them.
    pub fn seed(&self) -> u64 {
        self.paths.first().map_or(0, |(_, run)| lock(run).seed)
    }

    /// Counts since the specification was last set, a few milliseconds old at most.
    pub fn stats(&self) -> LinkStats {
        self.stats_of(0)
    }

    /// The same of one of several paths.
    pub fn stats_of(&self, path: usize) -> LinkStats {
        let Some((mover, run)) = self.paths.get(path) else { return LinkStats::default() };
        let mut stats = mover.stats();
        let [up, down] = self.dropped_by_devices(path);
        let [up_before, down_before] = lock(run).dropped_before;
        stats.up.dropped_overrun += up.saturating_sub(up_before);
        stats.down.dropped_overrun += down.saturating_sub(down_before);
        stats
    }

    /// Packets that never reached, or never got out of, this process: no part of the link's plan.
    fn dropped_by_devices(&self, path: usize) -> [u64; 2] {
        let up = self.near.dropped_sending(path) + self.far.dropped_receiving(path);
        let down = self.far.dropped_sending(path) + self.near.dropped_receiving(path);
        [up, down]
    }
}

fn lock(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same end's address on another path: each path has a network of 256 addresses.
fn address_of(first: Ipv4Addr, path: usize) -> Ipv4Addr {
    let path = u32::try_from(path).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(first).wrapping_add(path.wrapping_mul(256)))
}

fn pipes(spec: &LinkSpec) -> (Pipes, u64) {
    // 32 bits are plenty, and easier to copy from a report by hand.
    let seed = spec.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let up = Pipe::new(&spec.up, seed, Direction::Up);
    let down = Pipe::new(&spec.down, seed, Direction::Down);
    (Pipes { up, down }, seed)
}

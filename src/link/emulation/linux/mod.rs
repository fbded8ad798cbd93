//! Two network namespaces, a TUN device in each, and a thread between them.
//!
//! Nothing has a name outside this process: the namespaces live by open files and the devices by
//! theirs, so that the end of the process, by whatever cause, is the end of all of it.

mod congestion;
mod device;
mod mover;
mod namespace;
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
    mover: Mover,
    run: Mutex<Run>,
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
        let near = Stack::create(privilege, NEAR_ADDR)?;
        let far = Stack::create(privilege, FAR_ADDR)?;
        let (pipes, seed) = pipes(spec);
        let mover = Mover::start([near.device, far.device], pipes)?;
        let run = Mutex::new(Run { seed, dropped_before: [0; 2] });
        Ok(Self { near: near.handle, far: far.handle, mover, run })
    }

    /// Puts another link between the same two ends: what is on its way is dropped, the counts and
    /// the clock (for outages and traces) start over. Returns the seed in use.
    ///
    /// Open connections survive and see the new link.
    ///
    /// # Errors
    /// [`EmulationError::Stopped`] if the link no longer runs.
    pub fn replace(&self, spec: &LinkSpec) -> Result<u64, EmulationError> {
        let (pipes, seed) = pipes(spec);
        self.mover.replace(pipes)?;
        *self.run() = Run { seed, dropped_before: self.dropped_by_devices() };
        Ok(seed)
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
        self.run().seed
    }

    /// Counts since the specification was last set, a few milliseconds old at most.
    pub fn stats(&self) -> LinkStats {
        let mut stats = self.mover.stats();
        let [up, down] = self.dropped_by_devices();
        let [up_before, down_before] = self.run().dropped_before;
        stats.up.dropped_overrun += up.saturating_sub(up_before);
        stats.down.dropped_overrun += down.saturating_sub(down_before);
        stats
    }

    /// Packets that never reached, or never got out of, this process: no part of the link's plan.
    fn dropped_by_devices(&self) -> [u64; 2] {
        let up = self.near.dropped_sending() + self.far.dropped_receiving();
        let down = self.far.dropped_sending() + self.near.dropped_receiving();
        [up, down]
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pipes(spec: &LinkSpec) -> (Pipes, u64) {
    // 32 bits are plenty, and easier to copy from a report by hand.
    let seed = spec.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let up = Pipe::new(&spec.up, seed, Direction::Up);
    let down = Pipe::new(&spec.down, seed, Direction::Down);
    (Pipes { up, down }, seed)
}

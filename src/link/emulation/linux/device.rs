//! A TUN device: one end of the link as this process sees it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use super::privilege::open_tun;
use super::queue_length::set_queue_length;
use super::setup;
use super::{EmulationError, syscalls};
use crate::link::MTU;

/// What both devices of the first path are called, each in a namespace of its own.
pub(super) const NAME: &str = "link";

/// The device of a path: `link`, `link1`, ...
pub(super) fn name_of(path: usize) -> String {
    if path == 0 { NAME.to_owned() } else { format!("{NAME}{path}") }
}

/// Room for the two ends of the link.
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
/// Packets that wait for this process. It is not the link's queue, only what covers for a moment
/// in which another thread has the processor: 40 ms at 3 Gbit/s.
const QUEUE_PACKETS: u32 = 10_000;

/// A TUN device without offloads: whole IP packets of at most the MTU, one a call. (The kernel cuts
/// larger segments up before they get here, since the device does not claim to do it itself.)
#[derive(Debug)]
pub(super) struct Device(File);

/// Makes the device in the thread's namespace, and takes it up.
pub(super) fn create(
    control: BorrowedFd<'_>,
    name: &str,
    address: Ipv4Addr,
) -> Result<Device, EmulationError> {
    let file = open_tun()?;
    let step =
        |step, result: rustix::io::Result<()>| result.map_err(|error| setup(step)(error.into()));
    step("make a TUN device", syscalls::make_tun(&file, name))?;
    set_queue_length(control, name, QUEUE_PACKETS).map_err(setup("set the device's queue"))?;
    step("set the MTU", syscalls::set_mtu(control, name, MTU))?;
    step("set the address", syscalls::set_address(control, name, address))?;
    step("set the network mask", syscalls::set_netmask(control, name, NETMASK))?;
    step("take the device up", syscalls::set_up(control, name))?;
    Ok(Device(file))
}

impl Device {
    /// Reads one packet; `None` if there is none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the kernel. `false` if it would not take it.
    pub(super) fn write(&self, packet: &[u8]) -> bool {
        (&self.0).write(packet).is_ok_and(|written| written == packet.len())
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! The system calls that have no safe wrapper: leaving a namespace for a new one, the ioctls that
//! make a TUN device and configure an interface, and scheduling.
#![expect(unsafe_code, reason = "these calls have no safe wrappers; all of them are here")]

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The kernel's `struct ifreq`: a name and a union, of which the largest member is 24 bytes on
/// 64-bit systems (16 on others, which read less than is given).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

/// Makes a TUN device of the given file of `/dev/net/tun`, in the thread's network namespace:
/// whole IP packets, with no header before them.
pub(super) fn make_tun(file: impl AsFd, name: &str) -> io::Result<()> {
    const TUNSETIFF: Opcode = 0x4004_54ca;
    const IFF_TUN: i16 = 0x0001;
    const IFF_NO_PI: i16 = 0x1000;
    configure::<TUNSETIFF>(file, name, &(IFF_TUN | IFF_NO_PI).to_ne_bytes())
}

/// Gives an interface its IPv4 address.
pub(super) fn set_address(socket: impl AsFd, name: &str, address: Ipv4Addr) -> io::Result<()> {
    const SIOCSIFADDR: Opcode = 0x8916;
    configure::<SIOCSIFADDR>(socket, name, &socket_address(address))
}

/// Gives an interface its network mask, and with it the route to its neighbours.
pub(super) fn set_netmask(socket: impl AsFd, name: &str, mask: Ipv4Addr) -> io::Result<()> {
    const SIOCSIFNETMASK: Opcode = 0x891c;
    configure::<SIOCSIFNETMASK>(socket, name, &socket_address(mask))
}

/// Sets the largest packet of an interface.
pub(super) fn set_mtu(socket: impl AsFd, name: &str, bytes: u32) -> io::Result<()> {
    const SIOCSIFMTU: Opcode = 0x8922;
    configure::<SIOCSIFMTU>(socket, name, &bytes.to_ne_bytes())
}

/// Takes an interface up.
pub(super) fn set_up(socket: impl AsFd, name: &str) -> io::Result<()> {
    const SIOCSIFFLAGS: Opcode = 0x8914;
    const IFF_UP: i16 = 0x1;
    configure::<SIOCSIFFLAGS>(socket, name, &IFF_UP.to_ne_bytes())
}

/// Moves the calling thread, which must be the only one, into a user namespace of its own.
pub(super) fn new_user_namespace() -> io::Result<()> {
    // SAFETY: only sharing the table of file descriptors would be unsafe to give up, and it is not.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }
}

/// Moves the calling thread into a network namespace of its own.
pub(super) fn new_network_namespace() -> io::Result<()> {
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// How the kernel is to schedule the calling thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scheduling {
    /// Before all ordinary threads (`SCHED_RR`, lowest priority); needs privilege.
    RealTime,
    /// As an ordinary thread, in slices of this length; a short slice gets a thread that mostly
    /// sleeps on a processor soon after it wakes. Kernels before 6.12 ignore it.
    Slices(Duration),
}

/// The first version of the kernel's `struct sched_attr` (sched_setattr(2)).
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Changes how the calling thread is scheduled.
pub(super) fn schedule(scheduling: Scheduling) -> std::io::Result<()> {
    let (policy, priority, runtime) = match scheduling {
        Scheduling::RealTime => (libc::SCHED_RR, 1, 0),
        Scheduling::Slices(slice) => (libc::SCHED_OTHER, 0, slice.as_nanos() as u64),
    };
    let attributes = SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        policy: policy.cast_unsigned(),
        flags: 0,
        nice: 0,
        priority,
        runtime,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the attributes outlive the call, which reads as many bytes as `size` says, and the
    // thread 0 is the calling one.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn configure<const REQUEST: Opcode>(fd: impl AsFd, name: &str, value: &[u8]) -> io::Result<()> {
    let mut request = InterfaceRequest { name: [0; 16], value: [0; 24] };
    // Names here are our own and short; the last byte stays 0, as the kernel wants it.
    let length = name.len().min(request.name.len() - 1);
    request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    request.value[..value.len()].copy_from_slice(value);
    // SAFETY: every request above takes a `struct ifreq`, which the argument is or is larger than,
    // and the kernel writes nothing beyond it.
    unsafe { ioctl(fd, Updater::<REQUEST, InterfaceRequest>::new(&mut request)) }
}

/// The kernel's `struct sockaddr_in`, its port 0.
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    const AF_INET: u16 = 2;
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&address.octets());
    bytes
}

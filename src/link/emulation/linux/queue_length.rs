//! How many packets may wait in a device for this process to read them.
//!
//! The ioctl for it (`SIOCSIFTXQLEN`) demands power over the whole machine; rtnetlink demands it over
//! the network namespace alone, so that is what is spoken here (rtnetlink(7)).

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const NLMSG_ERROR: u16 = 2;
const IFLA_TXQLEN: u16 = 13;
/// Message header, `struct ifinfomsg`, and one attribute of four bytes.
const MESSAGE_BYTES: usize = 16 + 16 + 8;

/// Sets the queue length of a device of the thread's network namespace, in packets.
pub(super) fn set_queue_length(control: impl AsFd, name: &str, packets: u32) -> io::Result<()> {
    let message = message(name_to_index(control, name)?, packets);
    // The default protocol of this family, 0, is NETLINK_ROUTE.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match error_code(&answer[..length]) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(Errno::BADMSG.into()),
    }
}

fn message(index: u32, packets: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
    // struct nlmsghdr: length, type, flags, sequence, port.
    bytes.extend((MESSAGE_BYTES as u32).to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8]);
    // struct ifinfomsg: family and type (unspecified), index, flags and their mask (unchanged).
    bytes.extend([0; 4]);
    bytes.extend(index.to_ne_bytes());
    bytes.extend([0; 8]);
    // struct rtattr: length, type, value.
    bytes.extend(8u16.to_ne_bytes());
    bytes.extend(IFLA_TXQLEN.to_ne_bytes());
    bytes.extend(packets.to_ne_bytes());
    bytes
}

/// The code in the kernel's answer: 0 for done, else a negative error number.
fn error_code(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(code)
}

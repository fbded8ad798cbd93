//! Which TCP congestion controls the kernel offers.

use std::{fs, io};

/// The kernel's TCP congestion controls by name, the default first.
///
/// Any of them can be chosen for a socket at either end of an emulated link (`TCP_CONGESTION`):
/// `net.ipv4.tcp_allowed_congestion_control` does not bind a process that is privileged over its
/// network namespace, as this one is there. One that is not listed may exist as a module
/// (`sudo modprobe tcp_bbr`), which only root can load.
///
/// # Errors
/// Reading `/proc/sys/net/ipv4` failed.
pub fn available_congestion_controls() -> io::Result<Vec<String>> {
    let read = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let default = read("tcp_congestion_control")?.trim().to_owned();
    let all = read("tcp_available_congestion_control")?;
    let others = all.split_whitespace().filter(|name| *name != default).map(str::to_owned);
    Ok(std::iter::once(default.clone()).chain(others).collect())
}

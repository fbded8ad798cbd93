//! The kernel's own way to use two links at once: MPTCP.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use crate::link::{Emulation, EmulationError};

/// Subflows that both ends may have beside the first: more than there are links.
const SUBFLOWS: &str = "4";

/// Why there are no connections over MPTCP on this machine; `None` where there are.
pub fn no_multipath() -> Option<String> {
    let enabled = fs::read_to_string("/proc/sys/net/mptcp/enabled");
    match enabled.as_deref().map(str::trim) {
        Err(_) => return Some("this kernel has no MPTCP".to_owned()),
        Ok("0") => {
            return Some("MPTCP is switched off: `sudo sysctl net.mptcp.enabled=1`".to_owned());
        }
        Ok(_) => {}
    }
    match ip(&["mptcp", "limits"]) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "`ip mptcp`, which tells the kernel by which links a connection goes, does not work: {error}"
        )),
    }
}

/// Has the kernel at the near end open a subflow by each of so many paths.
pub(super) fn prepare(link: &Emulation, paths: usize) -> Result<(), EmulationError> {
    let limits = ["mptcp", "limits", "set", "subflows", SUBFLOWS, "add_addr_accepted", "0"];
    let failed = |cause| EmulationError::Setup { step: "prepare MPTCP", cause };
    link.far().run(|| ip(&limits))?.map_err(failed)?;
    link.near().run(|| ip(&limits))?.map_err(failed)?;
    for path in 1..paths {
        let (address, device) = (link.near_addr_of(path).to_string(), link.device_of(path));
        let endpoint = ["mptcp", "endpoint", "add", &address, "dev", &device, "subflow"];
        link.near().run(|| ip(&endpoint))?.map_err(failed)?;
    }
    Ok(())
}

/// Runs `ip` where the calling thread is.
fn ip(arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), said.trim())))
}

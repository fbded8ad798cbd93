//! Leave to make network namespaces: root's, or that of a user namespace of our own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::EmulationError;
use super::syscalls;

/// Leave to make network namespaces, obtained by [`enter_user_namespace`].
#[derive(Debug, Clone, Copy)]
pub struct Privilege {
    user_namespace: bool,
}

impl Privilege {
    /// Whether the process now lives in a user namespace of its own, rather than having been
    /// privileged all along.
    pub fn is_user_namespace(self) -> bool {
        self.user_namespace
    }
}

/// Obtains leave to make network namespaces: as root nothing needs to be done, and everybody else
/// moves into a user namespace, in which they are as powerful as root over what they make.
///
/// User and group stay the same inside, and files are accessed with the same rights as before.
/// Call it while the process has a single thread, before any runtime is started.
///
/// # Errors
/// [`EmulationError`], saying what the system forbids and how to allow it. The process is
/// then as it was before, unless only a network namespace was refused.
pub fn enter_user_namespace() -> Result<Privilege, EmulationError> {
    // Without the device the rest is pointless, and its file's rights are not ours to change.
    open_tun()?;
    if is_privileged() {
        return Ok(Privilege { user_namespace: false });
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(EmulationError::TooManyThreads { threads });
    }
    // Their numbers outside, which the namespace must be told.
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    syscalls::new_user_namespace().map_err(|error| {
        let remedy = remedy(error);
        EmulationError::UserNamespaceForbidden { cause: error.into(), remedy }
    })?;
    map_identity(user, group)
        .map_err(|cause| EmulationError::Setup { step: "map the user into a namespace", cause })?;
    Ok(Privilege { user_namespace: true })
}

/// Opens `/dev/net/tun`, without making a device yet.
pub(super) fn open_tun() -> Result<File, EmulationError> {
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun");
    file.map_err(|cause| match cause.kind() {
        io::ErrorKind::PermissionDenied => EmulationError::TunForbidden { cause },
        _ => EmulationError::NoTun { cause },
    })
}

/// A network namespace was refused although a user namespace was not, or was not needed.
pub(super) fn network_namespace_refused(error: Errno) -> EmulationError {
    let remedy = remedy(error);
    EmulationError::NetworkNamespaceForbidden { cause: error.into(), remedy }
}

fn is_privileged() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Maps user and group to themselves. Groups must be given up first (user_namespaces(7)).
fn map_identity(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// What most likely stands in the way, from the settings that are known to.
fn remedy(error: Errno) -> String {
    let setting = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "AppArmor restricts user namespaces here; allow them with `sudo sysctl -w \
                kernel.apparmor_restrict_unprivileged_userns=0`, or run the command as root"
            .to_owned();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "allow them with `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run the \
                command as root"
            .to_owned();
    }
    for limit in ["user.max_user_namespaces", "user.max_net_namespaces"] {
        let path = format!("/proc/sys/{}", limit.replace('.', "/"));
        if error == Errno::NOSPC || is(&path, "0") {
            let now = setting(&path).unwrap_or_else(|| "unknown".to_owned());
            return format!(
                "their number is limited to {now}; allow more with `sudo sysctl -w {limit}=1000`"
            );
        }
    }
    "most likely a container's seccomp profile or a security module forbids it: start the container \
     with `--cap-add SYS_ADMIN --cap-add NET_ADMIN` or `--security-opt seccomp=unconfined` and \
     `--device /dev/net/tun`, or run the command as root"
        .to_owned()
}

//! The command line tool: parse, run, exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    framelane::cli::main(!before_main::stdout_was_closed())
}

/// What can only be seen before `main`: the standard library opens /dev/null in the place of a standard
/// output that was closed, and results would vanish in it with exit status 0.
#[cfg(target_os = "linux")]
mod before_main {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    #[used]
    #[expect(unsafe_code, reason = "a function in this section runs before main")]
    // SAFETY: the section holds addresses of functions of this type (System V ABI, 5.3.3); this one needs
    // nothing of the standard library's runtime, which is not there yet.
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
        CLOSED.store(closed, Ordering::Relaxed);
    }

    pub(super) fn stdout_was_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(target_os = "linux"))]
mod before_main {
    pub(super) fn stdout_was_closed() -> bool {
        false
    }
}

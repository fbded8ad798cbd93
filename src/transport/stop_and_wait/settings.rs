//! Every time and size of this transport, each with its reason.
//!
//! The protocol has no end marks and one wait after another, so these numbers are part of how well
//! it works; `docs/wire.md` repeats them for whoever writes another implementation.

use std::time::Duration;

/// How the sender's role goes about it.
#[derive(Debug, Clone)]
pub struct SenderSettings {
    /// How long `continue` is left alone, once the peer's kernel has acknowledged it, before the
    /// next header follows.
    ///
    /// 10 ms: the peer is one thread that waits in `recv`, and wakes within a scheduler's time slice
    /// (3 ms on Linux) or two switches of Python's interpreter lock (5 ms each). Zero is what the
    /// scripts themselves do, without a wait for the acknowledgement either, and safe only where the
    /// receiver is framelane's.
    pub gap: Duration,
    /// How long nothing may happen while an `ok` is due, or a connection is being opened.
    ///
    /// 60 s: the receiver may be writing to a slow card, and TCP may let as much pass between two
    /// retransmissions (RFC 6298, section 2). Bytes that the peer acknowledges start it anew, and
    /// so does another source's turn at a server that serves one connection at a time.
    pub reply: Duration,
    /// How long the first connection may take. 10 s leave room for three retransmissions (1 s, 2 s,
    /// 4 s).
    pub connect: Duration,
    /// The kernel's congestion control by name, for instance `bbr`; `None` leaves the system's
    /// choice. Linux only.
    pub congestion: Option<String>,
}

/// How the receiver's role goes about it.
#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    /// A text is whole when nothing has followed it for so long.
    ///
    /// 20 ms: what one `send` carries is under 1,024 bytes and travels in one segment, unless
    /// something on the way cuts it; its other half is then right behind it, 8 ms later where the
    /// link carries 1 Mbit/s. (A half that was lost comes 200 ms later or more. To wait for that
    /// with every frame would double what the protocol costs; it is noticed instead, by the byte
    /// too many that the body then seems to have.)
    pub quiet: Duration,
    /// The same for a header that ends as the name of an image file does (`.png`, `.jpg`): the
    /// chance that a longer name was meant is next to none, and every frame pays for it.
    ///
    /// 2 ms: two ticks of the timer, which lets bytes in that lie in the socket already.
    pub quiet_likely: Duration,
    /// How long a new connection may take to send its opening. A script sends it at once; 10 s
    /// leave room for three retransmissions (1 s, 2 s, 4 s).
    pub opening: Duration,
    /// How long a sender may pause between frames.
    ///
    /// 10 min: live sources pause, and a peer that vanished is noticed by keep-alives long before;
    /// this frees the place of one that only sits there.
    pub idle: Duration,
    /// How long the session may take for its totals after the last frame, all of whose frames are
    /// confirmed by then.
    pub totals: Duration,
}

impl Default for SenderSettings {
    fn default() -> Self {
        Self {
            gap: Duration::from_millis(10),
            reply: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            congestion: None,
        }
    }
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            quiet_likely: Duration::from_millis(2),
            opening: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            totals: Duration::from_secs(10),
        }
    }
}

/// How often the kernel is asked whether bytes are still unacknowledged: no event tells of it, and
/// timers tick once a millisecond.
pub(super) const ACK_POLL: Duration = Duration::from_millis(1);

/// How often a wait for `ok` looks whether the body is still getting through.
pub(super) const PROGRESS_POLL: Duration = Duration::from_secs(1);

/// Pause before a connection that timed out in a full backlog is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a failed accept (no file descriptors left): it fails again at once otherwise.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest frame a sender announces. The scripts' `recv(LENGTH//2)` allocates half of it at
/// once, on machines that may have no more.
pub(super) const MAX_FRAME_BYTES: u64 = 1 << 30;

/// Frames a source may have unconfirmed: one on its way and one ready. More would only wait here,
/// where nothing can overtake anything.
pub(super) const UNCONFIRMED_PER_SOURCE: u64 = 2;

/// Bytes a session may have unconfirmed. Twice the largest frame of a usual camera would do; this
/// bounds the memory of unusual ones.
pub(super) const UNCONFIRMED_BYTES: u64 = 64 << 20;

/// A body that grows by less within the stall timeout makes next to no progress.
pub(super) const MIN_PROGRESS_BYTES: usize = 4_096;

/// The first step by which memory for a body is claimed; later ones are as long as what has
/// arrived, so that copying while it grows stays linear and an announced length alone costs nothing.
pub(super) const FIRST_STEP_BYTES: usize = 64 << 10;

/// Connections whose opening has arrived and that wait to be taken by the receiver.
pub(super) const LINK_QUEUE: usize = 16;

/// Connections that have not said what they want, beyond which the oldest give way, and the same from one
/// address.
pub(super) const NEWCOMERS: usize = 64;
/// See [`NEWCOMERS`].
pub(super) const NEWCOMERS_OF_ONE: usize = 48;

/// Connections that have, and wait for a place: scripts do not come back where they are turned away.
pub(super) const PARKED: usize = 64;

/// Connections that the kernel holds for us, once there are as many as may wait for a place.
pub(super) const BACKLOG: u32 = 128;

/// A connection is probed after so long without a byte, and then as often; the kernel's default
/// of two hours would let a vanished peer keep its place.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(20);

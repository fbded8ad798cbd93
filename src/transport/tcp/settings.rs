//! Every number of the TCP transports, with its reason.

use std::time::Duration;

/// Time for connecting, for the TLS handshake and, on a connection for one frame, for the session's
/// token. A SYN that is lost three times is sent again after 1, 3 and 7 s, so this rides out three
/// losses in a row.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a sender waits for the rest of a message that has begun to arrive. Messages are at most
/// 512 KiB, which the slowest link worth using (100 kbit/s) brings in 42 s, at over 1 kB a second.
pub(super) const SENDER_STALL: Duration = Duration::from_secs(30);

/// Bytes that count as progress. Fewer than this within the stall time is a peer that drips bytes to
/// hold a session open, or a link that is of no use.
pub(super) const PROGRESS_BYTES: u64 = 1_000;

/// Handshakes at once, beyond which the oldest give way. Each costs about 1 ms of CPU and holds about
/// 100 kB while it lasts, so this bounds strangers to some 13 MB.
pub(super) const HANDSHAKES: usize = 128;

/// The same from one address, behind which many senders may be.
pub(super) const HANDSHAKES_OF_ONE: usize = 96;

/// Where more than half of the handshakes are taken, newcomers get this part of the usual time, so
/// that silent connections cannot shut others out for long.
pub(super) const CROWDED_PART: u32 = 5;

/// Connections that the kernel keeps until they are accepted; the system's own limit
/// (`net.core.somaxconn`, 4096 on Linux) may be lower.
pub(super) const BACKLOG: i32 = 1_024;

/// Sessions accepted and not yet taken by their consumer.
pub(super) const LINK_QUEUE: usize = 16;

/// Pause after an accept that failed, for instance because file descriptors ran out: they come back
/// when sessions end, and asking without a pause would burn a core.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that has been silent for this long is probed, and given up after
/// [`KEEPALIVE_PROBES`] unanswered probes: 10 + 4 x 5 s.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Between two probes.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered probes that end the connection.
pub(super) const KEEPALIVE_PROBES: u32 = 4;

/// Bytes sent and not acknowledged for this long end the connection, rather than after the kernel's
/// 15 minutes. Outages shorter than this are ridden out without a new session. The kernel counts the time in which a
/// receiver that lives has no room as well (Linux), so a sender whose user has more patience has it here too.
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that may wait unsent in the kernel's send buffer (`TCP_NOTSENT_LOWAT`). The buffer itself
/// grows to megabytes, and what is in it can no longer be overtaken by an urgent frame or a message:
/// at 10 Mbit/s, 4 MB are 3 s of a queue that nobody sees. What is in flight does not count, so the
/// congestion window stays full; at 10 Gbit/s half of it, where the kernel asks for more, lasts
/// 100 us, which is enough to be scheduled in.
pub(super) const NOT_SENT_LOWAT: u32 = 256 * 1024;

/// How soon at the least it is looked again whether what waits in front of a live frame has left: less than what may
/// wait then takes to leave. And how soon at the latest: a path that falls silent does not end the looking.
pub(super) const ROOM_LOOK: Duration = Duration::from_millis(1);
/// See [`ROOM_LOOK`].
pub(super) const LONGEST_ROOM_LOOK: Duration = Duration::from_millis(20);

/// How often a sender asks the kernel whether a connection is still acknowledged: a few microseconds each.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// The same while an acknowledgement is due.
pub(super) const LOOK_CLOSELY: Duration = Duration::from_millis(20);

/// Where nothing at all comes for this long, beside three round trips, though something is due, another link is taken that
/// leads to the receiver; by half of that time it is tried. The kernel has sent again by then, most often.
pub(super) const SWALLOW_PATIENCE: Duration = Duration::from_millis(100);
/// Less than this is a pause of one of the machines.
pub(super) const LEAST_SWALLOW: Duration = Duration::from_millis(250);

/// Of so many segments that were on their way not one has shown a sign then: that each was lost on a path that works is out
/// of the question.
pub(super) const SWALLOWED_SEGMENTS: u32 = 5;

/// How long the usual link is waited for at the least where another has led to the receiver: where both do, the usual
/// one is no dead one.
pub(super) const SLOWER: Duration = Duration::from_millis(30);

/// How soon another link may be tried again where the one in use was heard meanwhile.
pub(super) const HEARD_PAUSE: Duration = Duration::from_millis(250);

/// How long acknowledgements may stay out, beside four times what is usual, before another connection is tried beside
/// this one. The kernel has sent again by then what is missing (after 0.2 and 0.6 s). To be tried alone ends nothing.
pub(super) const DOUBT: Duration = Duration::from_millis(500);

/// The same where of what was sent since hardly anything has come: what is lost by chance lies between what comes.
pub(super) const HOLE_PATIENCE: Duration = Duration::from_millis(200);

/// How soon the kernel sends again, beside a round trip, what was not acknowledged, where it lets one choose: it would wait
/// 200 ms. Acknowledgements are put off for 40 ms at the most.
pub(super) const LEAST_RESENDING: Duration = Duration::from_millis(100);
/// The same after many times in vain, where the kernel would wait for two minutes: the least that it takes. A path that is
/// back is used again after this.
pub(super) const LONGEST_RESENDING: Duration = Duration::from_secs(1);

/// How often it is looked, where another connection has come through, whether this one is acknowledged after all.
pub(super) const PROOF_LOOK: Duration = Duration::from_millis(20);

/// How long an acknowledgement may take, beside twice what is usual, of what was sent again while another connection
/// came through: that it was lost as well is less likely than that this one leads nowhere.
pub(super) const PROOF_TIME: Duration = Duration::from_millis(100);

/// How long acknowledgements may stay out where another connection comes through. The kernel has
/// sent four times by then what is missing (after 0.2, 0.6, 1.4 and 3 s): losses on the way come to
/// that once in thousands of times, and an outage then ends the attempt as well.
pub(super) const ACK_PATIENCE: Duration = Duration::from_secs(3);

/// The same where an address or a route of this machine has changed: most likely for good.
pub(super) const MOVED_PATIENCE: Duration = Duration::from_millis(200);

/// How long that other connection may take; one lost packet is sent again after a second.
pub(super) const KNOCK_TIME: Duration = Duration::from_secs(3);

/// The first pause before another one is tried, where the link is away; it doubles up to the longest.
pub(super) const KNOCK_PAUSE: Duration = Duration::from_secs(1);
/// A few packets each time; a link that is back is used again after this.
pub(super) const LONGEST_KNOCK_PAUSE: Duration = Duration::from_secs(2);

/// How long the TLS handshake of that other connection is waited for when the one in use is known to be at its end.
pub(super) const LAST_OF_KNOCK: Duration = Duration::from_millis(300);

/// So many acknowledged segments prove that those of full length get through.
pub(super) const PROVEN_SEGMENTS: u64 = 4;

/// The payload of a segment where longer ones seem to vanish on the way (`TCP_MAXSEG`, the kernel's options
/// included): packets of 1,220 bytes over IPv4 and 1,240 over IPv6, which the least MTU of IPv6 takes, 1,280,
/// and most tunnels in tunnels. `TCP_MTU_PROBING` would find more, but is the whole system's setting.
pub(super) const SMALL_SEGMENT: u32 = 1_180;

/// How long a connection with segments of usual length has to itself at the most until it is ready, before one with
/// small segments is tried beside it: the receiver's certificate may be what vanishes. Two lost packets
/// and a satellite's round trips take less.
pub(super) const SMALL_AFTER: Duration = Duration::from_millis(2_500);

/// The same where it took so long until it was open, which is a round trip. What is lost of the handshake is sent again
/// after little more than two of them and 200 ms, and a busy machine has pauses; to try small segments in vain costs a connection.
pub(super) fn small_after(opened_after: Duration) -> Duration {
    const RESENT: Duration = Duration::from_millis(400);
    (opened_after * 4 + RESENT).min(SMALL_AFTER)
}

/// How long a connection that was tried may wait for its session; a receiver gives one 10 s for its
/// handshake, and 2 s where there are many.
pub(super) const KEEP_NEXT: Duration = Duration::from_millis(1_500);

// SO_SNDBUF and SO_RCVBUF are not set. Setting them switches the kernel's autotuning off and caps
// them at `net.core.{w,r}mem_max`, 208 KiB by default, far below the `tcp_{w,r}mem` limits of
// several MB that autotuning grows to. A link with a bandwidth-delay product over 4 MB (500 Mbit/s
// at over 64 ms) needs `sysctl net.ipv4.tcp_wmem` raised, by the system's administrator.

/// Bytes gathered before they are encrypted and written: 16 TLS records of the largest size. Larger
/// batches do not lower the cost of a byte any more, and fit the caches worse.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// Bodies up to this length are copied into the batch, so that many small frames share TLS records
/// and system calls. Longer ones are encrypted from where they are.
pub(super) const COPIED_BODY_BYTES: usize = 32 * 1024;

/// The largest TLS record's payload (RFC 8446, section 5.1). Records cut at multiples of it carry
/// the least overhead.
pub(super) const TLS_RECORD_BYTES: usize = 16 * 1024;

/// What one read of a receiver's asks the kernel for, where its memory allows. rustls alone would ask for 4 KiB at
/// a time, which makes 256 system calls for a frame of 1 MB.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// The same where it does not, before the peer is known, and at a sender, which hears little: a whole TLS
/// record.
pub(super) const FIRST_READ_BYTES: usize = TLS_RECORD_BYTES + 1_024;

/// What a connection with a large buffer holds of the shared memory: that buffer.
pub(super) const CONNECTION_BYTES: u64 = READ_BYTES as u64;

/// The same for a connection of a single frame, of which there may be many: what TLS and its records take as well.
pub(super) const FRAME_CONNECTION_BYTES: u64 = CONNECTION_BYTES + 96 * 1024;

/// The read buffer for the starts of records and for small frames. It grows to a message's length
/// where it must, which is bounded by [`crate::wire::MAX_MESSAGE_BYTES`].
pub(super) const RECORD_BUFFER_BYTES: usize = 32 * 1024;

/// Memory that a body gets at first. A peer that announces much and sends little holds this much.
pub(super) const FIRST_BODY_BYTES: u64 = 64 * 1024;

/// What a frame holds beside its body.
pub(super) const FRAME_BYTES: u64 = 1_024;

/// A body that has filled its memory gets this multiple, up to its length. A frame of 1 MB is moved
/// twice while it grows, a third of its bytes in all; with 2 it would be every byte once.
pub(super) const BODY_GROWTH: usize = 4;

/// A reader or writer that always has something to do lets the other directions run after this many
/// bytes: under a millisecond of encryption.
pub(super) const TURN_BYTES: usize = 1024 * 1024;

/// Bodies that are refused are read and thrown away up to this multiple of the longest allowed body.
/// Beyond it the session ends, because reading on would cost more than a new session.
pub(super) const DISCARD_MULTIPLE: u64 = 4;

/// After a request to close: time to write what is queued.
pub(super) const FLUSH: Duration = Duration::from_secs(3);

/// After the last byte: time to wait for the peer's end, so that a reset for bytes that arrive later
/// cannot overtake the reason for closing.
pub(super) const LINGER: Duration = Duration::from_millis(1_500);

/// After a write has failed: time to find the peer's reason among the bytes that have arrived.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// `tcp-per-frame`: connections for frames at once, one a source at most. Enough that eight sources
/// do not wait for one another's round trips; the habit that this transport stands for has one.
pub(super) const FRAME_CONNECTIONS: usize = 8;

/// `tcp-per-frame`: connections of one session that a receiver reads at once. Twice the sender's, for
/// those that the sender has given up already.
pub(super) const FRAME_CONNECTIONS_READ: usize = 2 * FRAME_CONNECTIONS;

/// `tcp-per-frame`: how often a connection that waits for memory looks for it.
pub(super) const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// `tcp-per-frame`: frames taken from the session that wait for their source's turn.
pub(super) const FRAMES_WAITING: usize = crate::wire::MAX_SOURCES;

/// `tcp-per-frame`: attempts at one frame before the link is given up, and the first pause between
/// them, which doubles. A receiver that is out of connections for a moment is survived: 0.7 s.
pub(super) const FRAME_ATTEMPTS: u32 = 4;
/// See [`FRAME_ATTEMPTS`].
pub(super) const FRAME_BACKOFF: Duration = Duration::from_millis(100);

/// `tcp-per-frame`: how long a sender waits for the receiver to have read a frame that was written.
/// The kernel's own timeout for bytes that are not acknowledged, and the same again for a receiver
/// whose memory budget is used up.
pub(super) const FRAME_ANSWER: Duration = Duration::from_secs(60);

/// `tcp-per-frame`: how long a sender whose connection broke after a frame was written waits for the session to tell
/// that it has arrived, before it sends it again: a round trip across a satellite and the time to store it. The
/// frame may take longer than that, and then travels twice, which is no harm.
pub(super) const RECEIPT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_segments_are_tried_soon_where_round_trips_are_short() {
        let after = |ms| small_after(Duration::from_millis(ms)).as_millis();
        assert_eq!([after(0), after(50), after(600)], [400, 600, 2_500]);
    }
}

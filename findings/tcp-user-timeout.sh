#!/usr/bin/env bash
# Linux 6.18.44: TCP_USER_TIMEOUT, which is set to find dead peers early, also ends a connection to one that is alive. Where a
# receiver reads nothing for that long (a disk that stalls, a program in a debugger, a viewer on pause) its kernel answers every
# window probe, and the sender ends with ETIMEDOUT all the same: answers do not set the time back. What send() had taken is lost
# with it, and the error reads as one of the network. Keep-alive alone, with far shorter times, leaves such a connection as it is.
# Seen on 2026-11-30 over loopback, a receiver that does not read: TCP_USER_TIMEOUT of 4 s: ETIMEDOUT after 4.4 s, the receiver's
# last answer 1.0 s old, 128,512 of the 4,005,888 bytes that send() took ever read; keep-alive of 1 s with one probe, and no such
# timeout: connected after 9 s, and everything arrived once it was read. No package is used.
set -euo pipefail
python3 - <<'PY'
import select, socket, struct, sys, time

TIMEOUT, LONG = 4.0, 9.0  # seconds

def last_answer(connection):
    """Seconds since the peer's last acknowledgement, as the kernel has it (tcpi_last_ack_recv)."""
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("=I", information, 56)[0] / 1000

def run(options):
    """What send() took, what then happened and when, how old the last answer was, and what the receiver could read in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    with sender, receiver:
        for level, name, value in options:
            sender.setsockopt(level, name, value)
        sender.setblocking(False)
        taken = 0
        try:
            while True:
                taken += sender.send(bytes(1 << 16))
                time.sleep(0.001)
        except BlockingIOError:
            pass
        began, error, age = time.monotonic(), None, None
        poll = select.poll()
        poll.register(sender, select.POLLERR | select.POLLHUP)
        while error is None and time.monotonic() - began < LONG:
            age = last_answer(sender)
            if poll.poll(20):
                error = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        took, read = time.monotonic() - began, 0
        receiver.settimeout(3)
        try:
            while read < taken and (data := receiver.recv(1 << 20)):
                read += len(data)
        except OSError:
            pass
        return taken, error, took, age, read

TCP = socket.IPPROTO_TCP
keep_alive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (TCP, socket.TCP_KEEPIDLE, 1), (TCP, socket.TCP_KEEPINTVL, 1),
              (TCP, socket.TCP_KEEPCNT, 1)]
as_seen = True
for name, options in (("TCP_USER_TIMEOUT", [(TCP, socket.TCP_USER_TIMEOUT, int(TIMEOUT * 1000))]), ("keep-alive", keep_alive)):
    taken, error, took, age, read = run(options)
    print(f"{name}: send() took {taken} bytes; error {error} after {took:.1f} s, when the receiver's last answer was "
          f"{age:.1f} s old; the receiver then read {read} bytes")
    if name == "TCP_USER_TIMEOUT":
        as_seen &= error == 110 and TIMEOUT - 1 < took < LONG - 1 and age < TIMEOUT * 0.8 and read < taken
    else:
        as_seen &= error is None and read == taken
sys.exit(0 if as_seen else "not as seen before")
PY

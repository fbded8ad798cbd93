"""Over a link that loses packets, with a receiver that is restarted in the middle: nothing is lost.

Both ends are programs of ten lines, in processes of their own, as in the README.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

import framelane
from conftest import LIMIT
from relay import Relay

SENDS = """
import sys, time, numpy as np, framelane
address, pin, certs, frames = sys.argv[1:]
with framelane.Sender(address, pin=pin, sources=["visible"], certs=certs, retry_for="5m") as sender:
    for number in range(int(frames)):
        image = np.full((48, 64, 3), number % 251, np.uint8)
        image[0, :8, 0] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
        sender.send("visible", image, captured=time.time_ns())
        time.sleep(0.01)
print(sender.report.sent)
"""

RECEIVES = """
import sys, framelane
address, pin, certs, out = sys.argv[1:]
receiver = framelane.Receiver(address, allow=[pin], certs=certs, out=out)
print(receiver.port, flush=True)
for frame in receiver:
    print(frame.sequence, frame.array()[0, :8, 0].tobytes().hex(), flush=True)
"""

FRAMES = 200


def start(text: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text, *map(str, args)], stdout=subprocess.PIPE, text=True)


def test_nothing_is_lost(ends, tmp_path):
    out = tmp_path / "received"
    receiving = [ends.sender_pin, ends.place / "receiver", out]
    first = start(RECEIVES, "127.0.0.1:0", *receiving)
    assert first.stdout is not None
    port = int(first.stdout.readline())
    relay = Relay(("127.0.0.1", port), loss=0.05, delay=0.02, seed=11)
    sender = start(SENDS, relay.address, ends.receiver_pin, ends.place / "sender", FRAMES)
    taken = [first.stdout.readline() for _ in range(FRAMES // 4)]
    # In the middle of it.
    first.kill()
    first.wait(LIMIT)
    first.stdout.close()
    second = _again(lambda: start(RECEIVES, f"127.0.0.1:{port}", *receiving))
    try:
        said, _ = sender.communicate(timeout=2 * LIMIT)
        assert sender.returncode == 0 and int(said) > 0
    finally:
        second.kill()
        second.communicate(timeout=LIMIT)
        relay.close()
    assert relay.lost > 10, "the link was a good one"
    stored = framelane.Store(out)["visible"]
    assert sorted(stored.sequence.tolist()) == list(range(FRAMES))
    for frame in stored:
        image = frame.array()
        assert int.from_bytes(image[0, :8, 0].tobytes(), "little") == frame.sequence
        assert (image[1:] == frame.sequence % 251).all()
    # What the first one handed out was stored by then.
    for line in taken:
        sequence, content = line.split()
        assert int(sequence) == int.from_bytes(bytes.fromhex(content), "little")
    assert np.all(np.diff(stored.captured.astype(np.int64)) > 0)


def _again(begin):
    """The port of one that was killed is free at once; its store, when the system has noticed."""
    end = time.monotonic() + LIMIT
    while True:
        process = begin()
        assert process.stdout is not None
        if process.stdout.readline():
            return process
        process.wait(LIMIT)
        assert time.monotonic() < end, "it cannot be started again"

"""What it takes to hand frames over: pushing.py [SECONDS].

Raw 16-bit frames of 640x512 are pushed 1,000 times a second to a receiver in another process, which stores nothing. Printed is what the sending
process used of a processor, all of its threads together: hashing, encryption and the kernel's sending included; and the calling thread alone. Then how long ``send`` takes
with arrays of 6 MB. Both want a wheel that was built with ``--release``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import numpy as np

import framelane

RECEIVER = """
import sys, framelane
with framelane.Receiver("127.0.0.1:0", allow=[sys.argv[1]], certs=sys.argv[2], queue="256MiB", memory="256MiB") as receiver:
    print(receiver.address, receiver.pin, flush=True)
    for frame in receiver:
        pass
"""


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    place = tempfile.mkdtemp(prefix="framelane-pushing-")
    own = framelane.own_pin(f"{place}/sender")
    receiving = subprocess.Popen([sys.executable, "-c", RECEIVER, own, f"{place}/receiver"], stdout=subprocess.PIPE, text=True)
    assert receiving.stdout is not None
    address, pin = receiving.stdout.readline().split()
    for transport in ("quic", "tcp"):
        sender = framelane.Sender(
            address, pin=pin, sources=[transport, f"big-{transport}"], encode="raw", memory="512MiB", transport=transport, certs=f"{place}/sender"
        )
        thermal = (7_000 + np.random.default_rng(1).integers(0, 2_000, (512, 640))).astype(np.uint16)
        begin, used, own, count = time.monotonic(), time.process_time(), time.thread_time(), int(seconds * 1_000)
        handing = 0.0
        for number in range(count):
            time.sleep(max(0.0, begin + number / 1_000 - time.monotonic()))
            before = time.perf_counter()
            sender.send(transport, thermal)
            handing += time.perf_counter() - before
        pushed, own = time.monotonic() - begin, time.thread_time() - own
        while sender.pending:
            time.sleep(0.01)
        took = time.monotonic() - begin
        used = time.process_time() - used
        print(
            f"{transport}: {count} frames of {thermal.nbytes / 1e3:.0f} kB pushed in {pushed:.2f} s ({count / pushed:.0f}/s), send {handing / count * 1e6:.0f} us "
            f"each; taken after {took:.2f} s; {used / count * 1e6:.0f} us of a processor a frame, "
            f"{own / count * 1e6:.0f} of them in the calling thread"
        )
        large = np.random.default_rng(1).integers(0, 256, (1_000, 2_000, 3), dtype=np.uint8)
        times = []
        for _ in range(30):
            before = time.perf_counter()
            sender.send(f"big-{transport}", large)
            times.append((time.perf_counter() - before) * 1e3)
            time.sleep(0.05)
        print(f"{transport}: send of {large.nbytes / 1e6:.0f} MB: median {np.median(times):.2f} ms, longest {max(times):.2f} ms")
        sender.finish(60)
    receiving.terminate()


if __name__ == "__main__":
    main()

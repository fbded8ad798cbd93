#!/usr/bin/env bash
# pyzmq 27.1.0 with libzmq 4.3.5 (PyPI): high-water marks of 1 at both ends of PUB/SUB, meant for "only the newest frame", give a
# subscriber that is slower than the camera old frames: behind the mark the kernel's socket buffers hold megabytes, and what is
# dropped is what is new. So the picture is seconds behind for good, and goes on in jumps: some frames in a row, then a run of
# dozens missing. ZMQ_CONFLATE does what was meant, but is not for messages of several parts, as imagezmq's are.
# Seen on 2026-11-30, 2,000 frames of 20 kB at 200 a second, a subscriber that takes 20 a second: the middle one of those that
# came was 7.3 s old, 59 were missing in a row; with CONFLATE 0.0 s, 11 missing in a row.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check pyzmq==27.1.0
"$place/venv/bin/python" - <<'PY'
import struct, sys, threading, time
import zmq

FRAMES, RATE, SIZE, TAKEN = 2000, 200, 20_000, 20

def publish(publisher):
    began = time.monotonic()
    for number in range(FRAMES):
        time.sleep(max(0, began + number / RATE - time.monotonic()))
        publisher.send(struct.pack("=Id", number, time.monotonic()) + bytes(SIZE))

def run(conflate):
    """The frames that came, the age of the middle one in seconds, and the longest run missing between two."""
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher, context.socket(zmq.SUB) as subscriber:
        publisher.linger = subscriber.linger = 0
        publisher.sndhwm = subscriber.rcvhwm = 1
        subscriber.conflate = conflate
        subscriber.subscribe(b"")
        subscriber.rcvtimeo = 2000
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        while not subscriber.poll(20):  # until the subscription has reached the publisher
            publisher.send(b"")
        camera = threading.Thread(target=publish, args=(publisher,))
        camera.start()
        came, ages = [], []
        try:
            while True:
                message = subscriber.recv()
                if message:
                    number, made = struct.unpack_from("=Id", message)
                    came.append(number)
                    ages.append(time.monotonic() - made)
                    time.sleep(1 / TAKEN)
        except zmq.Again:
            pass
        camera.join()
    missing = max(after - before - 1 for before, after in zip(came, came[1:]))
    return len(came), sorted(ages)[len(ages) // 2], missing

as_seen = True
for conflate in (False, True):
    count, age, missing = run(conflate)
    print(f"high-water marks of 1{', CONFLATE' * conflate}: {count} of {FRAMES} frames came, the middle one {age:.2f} s old, "
          f"at most {missing} missing in a row")
    as_seen &= age < 0.3 if conflate else age > 2 and missing > 3 * RATE / TAKEN
sys.exit(0 if as_seen else "not as seen before")
PY

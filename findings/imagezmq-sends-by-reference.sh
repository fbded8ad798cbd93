#!/usr/bin/env bash
# imagezmq 1.2.0 (PyPI) with pyzmq 27.1.0: with REQ_REP=False (PUB/SUB) `send_image(name, image)` returns while the picture is still the
# caller's array: pyzmq is told not to copy, and a thread of libzmq reads the pixels when the network takes them. A camera that fills the
# same array again, as `capture.read(image)`, `readinto(buffer)` and `image[:] = ...` do, changes what is waiting, so that a
# subscriber gets, under the name of each frame, the pixels of a later one. Nothing is raised or logged. Pictures under 64 KiB are copied, so
# a small test shows nothing, and where the subscriber keeps up it seldom happens. With a copy
# (`send_image(name, image.copy())`) all is right.
# Seen on 2026-11-30, 40 frames of 16 bits, one array, each picture filled with its number, a subscriber that began to read a second later:
# 640 x 512: 39 of 40 had other pixels than were sent under their name, those of the last frame (25 of them in another run); with a copy, and with
# 160 x 120: none.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imagezmq==1.2.0 pyzmq==27.1.0 numpy==2.2.6
"$place/venv/bin/python" -W error - <<'PY'
import socket, sys, time
import imagezmq, numpy

FRAMES = 40

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

def run(height, width, copy):
    """The number in each frame's pixels, in the order of the names, which are the numbers that were sent."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with imagezmq.ImageSender(connect_to=address, REQ_REP=False) as sender, imagezmq.ImageHub(open_port=address, REQ_REP=False) as hub:
        hub.zmq_socket.rcvtimeo = 10_000
        image = numpy.zeros((height, width), numpy.uint16)
        while not hub.zmq_socket.poll(50):  # until the subscription has reached the sender
            sender.send_image("there?", image)
        time.sleep(0.5)
        while hub.zmq_socket.poll(200):
            hub.recv_image()
        for number in range(FRAMES):
            image[:] = number
            sender.send_image(str(number), image.copy() if copy else image)
        time.sleep(1)
        came = [hub.recv_image() for _ in range(FRAMES)]
    assert [name for name, _ in came] == [str(number) for number in range(FRAMES)]
    return [sorted(set(pixels.reshape(-1).tolist())) for _, pixels in came]

as_seen = True
for height, width, copy in ((120, 160, False), (512, 640, False), (512, 640, True)):
    came = run(height, width, copy)
    other = sum(pixels != [number] for number, pixels in enumerate(came))
    last = sum(pixels == [FRAMES - 1] for pixels in came[:-1])
    print(f"{width} x {height}{', copied' * copy}: {other} of {FRAMES} frames have other pixels than were sent under their name, {last} "
          f"those of the last frame")
    as_seen &= other >= 3 if width == 640 and not copy else other == 0
sys.exit(0 if as_seen else "not as seen before")
PY

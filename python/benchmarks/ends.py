"""One end of a measurement: ends.py receive|send LIBRARY PATTERN ADDRESS KIND SECONDS RATE.

The text that goes with an image is when it was made, so the receiver knows how old it is. What it has seen it prints as JSON. All ends
have the same certificate (``XDG_CONFIG_HOME``), as the programs of one user on one machine do.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time

import numpy as np

WIDTH, HEIGHT = 640, 480
LAST = "last"
"""The text behind the last image."""


def image(kind: str):
    """A picture with some detail, as a camera has it."""
    import cv2

    rng = np.random.default_rng(3)
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.dstack([across % 256, down % 256, (across + down) % 256]).astype(np.float32)
    noisy = np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
    if kind == "raw":
        return noisy
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def imagezmq(library: str):
    if library == "imagezmq":
        import imagezmq as module
    else:
        import framelane.imagezmq as module
    return module


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Seen:
    """What a receiver has seen."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.first = self.last = 0.0

    def take(self, made: str) -> None:
        now = time.time()
        self.first = self.first or now
        self.last = now
        self.ages.append(now - float(made))

    def say(self) -> None:
        ages = np.array(self.ages[1:] or [float("nan")]) * 1e3
        print(
            "\n" + json.dumps(
                {
                    "frames": len(self.ages),
                    "rate": (len(self.ages) - 1) / max(self.last - self.first, 1e-9),
                    "p50_ms": float(np.percentile(ages, 50)),
                    "p95_ms": float(np.percentile(ages, 95)),
                    "peak_mb": peak(),
                }
            ),
            flush=True,
        )


def paced(seconds: float, rate: float):
    """When each image is due, until the time is over; at once where the rate is 0."""
    begin = time.time()
    number = 0
    while time.time() - begin < seconds:
        if rate:
            due = begin + number / rate
            time.sleep(max(0.0, due - time.time()))
        number += 1
        yield


def send_imagezmq(library: str, pattern: str, address: str, kind: str, seconds: float, rate: float) -> None:
    picture = image(kind)
    sender = imagezmq(library).ImageSender(f"tcp://{address}", REQ_REP=pattern == "req")
    send = sender.send_image if kind == "raw" else sender.send_jpg
    if pattern == "pub":
        print("ready", flush=True)
        # Until the subscriber is there.
        time.sleep(2.0)
    for _ in paced(seconds, rate):
        send(repr(time.time()), picture)
    for _ in range(1 if pattern == "req" else 20):
        send(LAST, picture)
        time.sleep(0.0 if pattern == "req" else 0.2)
    print(json.dumps({"sender_mb": peak()}), flush=True)
    # imagezmq waits for whatever is queued.
    os._exit(0)


def receive_imagezmq(library: str, pattern: str, address: str, kind: str) -> None:
    hub = imagezmq(library).ImageHub(f"tcp://{address}", REQ_REP=pattern == "req")
    if pattern == "req":
        print("ready", flush=True)
    receive = hub.recv_image if kind == "raw" else hub.recv_jpg
    seen = Seen()
    while True:
        made, _ = receive()
        if made == LAST:
            break
        seen.take(made)
        if pattern == "req":
            hub.send_reply(b"OK")
    if pattern == "req":
        hub.send_reply(b"OK")
    seen.say()
    time.sleep(0.5)
    os._exit(0)


def certs() -> str:
    return os.path.join(os.environ["XDG_CONFIG_HOME"], "framelane", "imagezmq")


def send_framelane(address: str, kind: str, seconds: float, rate: float) -> None:
    import framelane

    picture = image(kind)
    sender = framelane.Sender(address, pin=framelane.own_pin(certs()), sources=["a"], encode="raw", certs=certs(), retry_for="1h")
    for _ in paced(seconds, rate):
        sender.send("a", picture, captured=time.time_ns())
    sender.send("a", b"last", name=LAST)
    sender.finish()
    print(json.dumps({"sender_mb": peak()}), flush=True)


def receive_framelane(address: str, kind: str) -> None:
    import framelane

    receiver = framelane.Receiver(address, allow=[framelane.own_pin(certs())], certs=certs())
    print("ready", flush=True)
    seen = Seen()
    last = None
    while True:
        frame = receiver.next(120)
        if frame.name == LAST:
            last = frame.sequence
        else:
            if kind == "raw":
                frame.array()
            seen.take(repr(frame.captured_ns / 1e9))
        if last is not None and len(seen.ages) == last:
            break
    receiver.close()
    seen.say()


def netgear(receives: bool, address: str):
    from vidgear.gears import NetGear

    host, port = address.rsplit(":", 1)
    # Texts go with images in this mode only.
    return NetGear(address=host, port=port, protocol="tcp", pattern=1, receive_mode=receives, logging=False, bidirectional_mode=True)


def send_vidgear(address: str, kind: str, seconds: float, rate: float) -> None:
    picture = image("raw")
    sender = netgear(False, address)
    for _ in paced(seconds, rate):
        sender.send(picture, message=repr(time.time()))
    sender.send(picture, message=LAST)
    print(json.dumps({"sender_mb": peak()}), flush=True)
    os._exit(0)


def receive_vidgear(address: str) -> None:
    # It connects when somebody asks for an image.
    receiver = netgear(True, address)
    print("ready", flush=True)
    seen = Seen()
    while True:
        got = receiver.recv(return_data="OK")
        if got is None:
            break
        made, _ = got
        if made == LAST:
            break
        seen.take(made)
    seen.say()
    threading.Timer(0.5, os._exit, (0,)).start()


def main() -> None:
    what, library, pattern, address, kind, seconds, rate = sys.argv[1:]
    if library == "framelane":
        receive_framelane(address, kind) if what == "receive" else send_framelane(address, kind, float(seconds), float(rate))
    elif library == "vidgear":
        receive_vidgear(address) if what == "receive" else send_vidgear(address, kind, float(seconds), float(rate))
    elif what == "receive":
        receive_imagezmq(library, pattern, address, kind)
    else:
        send_imagezmq(library, pattern, address, kind, float(seconds), float(rate))


if __name__ == "__main__":
    main()

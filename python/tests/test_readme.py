"""The README's own blocks, as they are there but for addresses and pins: over a link that loses packets, with a receiver that is
restarted in the middle, nothing is lost; and what is shown of stores and spools behind that.

Each end is a program in a process of its own, with a home, a folder and a temporary folder that nobody has used before.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import framelane
import framelane.imagezmq
from conftest import LIMIT, unused_port
from relay import Relay

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"
FRAMES = 150
CAMERA = f'''
"""A camera of {FRAMES} frames, each with its number in it."""
import time
import numpy

class VideoCapture:
    def __init__(self, device):
        assert device == 0
        self.number = -1

    def read(self):
        self.number += 1
        if self.number == {FRAMES}:
            return False, None
        time.sleep(0.01)
        image = numpy.full((48, 64, 3), self.number % 251, numpy.uint8)
        image[0, :8, 0] = numpy.frombuffer(self.number.to_bytes(8, "little"), numpy.uint8)
        return True, image
'''


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)


def told(text: str, **words: str) -> str:
    """A block with what its reader is to write himself."""
    for old, new in words.items():
        old = {"address": "store:4433", "listen": "0.0.0.0:4433", "receiver": "sha256:PIN-OF-STORE", "sender": "sha256:PIN-OF-CAMERA"}[old]
        assert old in text, (old, text)
        text = text.replace(old, new)
    return text


class Machine:
    """A place that is like a machine of its own."""

    def __init__(self, place: pathlib.Path) -> None:
        self.place = place
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place / "tmp"), "PYTHONUNBUFFERED": "1"}
        (place / "tmp").mkdir(parents=True)

    def run(self, text: str) -> subprocess.Popen[str]:
        # Whoever starts the tests in the background may have had SIGINT ignored, and children inherit that.
        heeds = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [sys.executable, "-c", text],
            cwd=self.place,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heeds,
        )

    def done(self, text: str) -> str:
        process = self.run(text)
        said, errors = process.communicate(timeout=2 * LIMIT)
        assert process.returncode == 0, errors
        return said

    def pin(self) -> str:
        """By the README's own command."""
        (command,) = re.findall(r'`python -c "(import framelane; [^`]*)"`', README.read_text())
        return self.done(command).strip()


class Receiving:
    """A receiver's program, what it prints, and whoever starts it again when it has ended, as systemd does: the store of one that
    was killed may be in use for a moment longer."""

    def __init__(self, machine: Machine, text: str) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._begin = lambda: machine.run(text)
        self._ended = False
        self.process = self._begin()
        self._keeping = threading.Thread(target=self._keep, daemon=True)
        self._keeping.start()

    def _keep(self) -> None:
        while True:
            with self.process as process:
                self.lines.extend(process.stdout)
                self.errors.append(process.stderr.read())
            if self._ended:
                return
            self.process = self._begin()

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + LIMIT
        while len(self.lines) < count:
            assert time.monotonic() < end, (self.lines, self.errors)
            time.sleep(0.01)

    def end(self, how: int) -> str:
        """Ends it for good; what it has to say then."""
        self._ended = True
        self.process.send_signal(how)
        self._keeping.join(LIMIT)
        return self.errors[-1]


def test_the_blocks_of_the_readme_in_their_order(tmp_path):
    sends, receives, keeps, reads, stands_in = blocks("python")
    camera, store = Machine(tmp_path / "camera"), Machine(tmp_path / "store")
    (camera.place / "cv2.py").write_text(CAMERA)
    pins = {"receiver": store.pin(), "sender": camera.pin()}
    port = unused_port()
    relay = Relay(("127.0.0.1", port), loss=0.05, delay=0.02, seed=11)
    receiving = Receiving(store, told(receives, listen=f"127.0.0.1:{port}", sender=pins["sender"]))
    try:
        sending = camera.run(told(sends, address=relay.address, receiver=pins["receiver"]))
        receiving.wait_for(FRAMES // 4)
        # In the middle of it.
        assert sending.poll() is None
        receiving.process.kill()
        _, errors = sending.communicate(timeout=2 * LIMIT)
        assert sending.returncode == 0 and errors == "", (errors, receiving.errors)
        assert relay.lost > 10, "the link was a good one"
        assert len(receiving.errors) > 0, "it was never restarted"
        # The last ones may be on their way to the program; they are stored.
        visible = framelane.Store(store.place / "received")["visible"]
        assert sorted(visible.sequence.tolist()) == list(range(FRAMES))
        assert np.all(np.diff(visible.captured.astype(np.int64)) > 0)
        for frame in visible:
            image = frame.array()
            assert int.from_bytes(image[0, :8, 0].tobytes(), "little") == frame.sequence
            assert (image[1:] == frame.sequence % 251).all()
        assert all(re.fullmatch(r"visible \d+ 20\d\d-.* \(48, 64, 3\)\n", line) for line in receiving.lines), receiving.lines

        spool = "import framelane, numpy\nPIN, image = {!r}, numpy.zeros((48, 64), numpy.uint8)\n".format(pins["receiver"])
        camera.done(spool + told(keeps, address=relay.address))
        assert (camera.place / "spool").is_dir()
        infrared = told(sends, address=relay.address, receiver=pins["receiver"]).replace('"visible"', '"infrared"')
        camera.done(infrared)
        assert "KeyboardInterrupt" in receiving.end(signal.SIGINT)
    finally:
        receiving.end(signal.SIGKILL)
        relay.close()

    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    said = store.done("import framelane\n" + reads)
    # All lie far apart in time.
    assert len(said.splitlines()) == 2 * FRAMES + 1, said
    camera.done(stands_in + "imagezmq.ImageSender, imagezmq.ImageHub")


def test_the_commands_of_the_readme_are_those_of_this_package():
    """They are run by `ci`, or take another machine."""
    builds, cross = blocks("sh")
    assert builds.split("#")[0].split() == ["pip", "install", "./python"]
    assert "maturin build --release --target aarch64-unknown-linux-gnu --zig" in cross

"""Frames that the link cannot take wait in memory and on disk, and outlive their sender."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest

import framelane
from conftest import LIMIT, listen_again

SENDS = """
import sys, framelane
address, pin, certs, spool, first, frames, wait_for = sys.argv[1:]
sender = framelane.Sender(address, pin=pin, sources=["visible"], certs=certs, spool=spool, retry_for="1h")
for number in range(int(first), int(first) + int(frames)):
    sender.send("visible", b"%d" % number, name=f"{number}.bin")
    print(number, flush=True)
while sender.spool.disk_frames < int(wait_for):
    pass
print("waits", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def nobody(ends):
    """An address where a receiver was, and will be."""
    with ends.receiver() as receiver:
        return receiver.address


def kill_after_sending(ends, address: str, spool: pathlib.Path, first: int, frames: int, wait_for: int) -> list[int]:
    """Runs a sender until it has sent these, and that many frames are on disk, and kills it. The numbers of those sent."""
    args = [address, ends.receiver_pin, ends.place / "sender", spool, first, frames, wait_for]
    sending = subprocess.Popen(
        [sys.executable, "-c", SENDS, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sending.stdin is not None and sending.stdout is not None
    said = []
    for line in sending.stdout:
        if line == "waits\n":
            break
        said.append(int(line))
    sending.kill()
    sending.wait(LIMIT)
    sending.stdin.close()
    sending.stdout.close()
    return said


def account(out: pathlib.Path) -> tuple[dict[int, bytes], dict[int, str]]:
    """What is stored, by sequence, and what was declared dropped, with the reasons."""
    source = framelane.Store(out)["visible"]
    stored = {frame.sequence: frame.bytes for frame in source}
    dropped = {at: drop.reason for drop in source.drops() for at in range(drop.first, drop.last + 1)}
    return stored, dropped


def test_what_a_killed_sender_had_is_sent_by_the_next(ends, tmp_path, nobody):
    out, spool = tmp_path / "received", tmp_path / "spool"
    sent = kill_after_sending(ends, nobody, spool, 0, 20, wait_for=20)
    # What it sends just before it is killed is in memory.
    sent += kill_after_sending(ends, nobody, spool, 20, 10, wait_for=20)
    with listen_again(lambda: ends.receiver(nobody, out=out)):
        with ends.sender(nobody, spool=spool, retry_for="5m") as sender:
            assert sender.spool.found >= 20
            sender.send("visible", b"30", name="30.bin")
        assert sender.report.complete and sender.report.pending == 0
        assert sender.report.spool.disk_frames == 0
    stored, dropped = account(out)
    assert sent == list(range(30))
    # Every frame of all three is stored or declared, and none is both.
    assert set(stored) | set(dropped) == set(range(31)) and not set(stored) & set(dropped)
    assert set(dropped.values()) <= {"sender-crashed"}
    assert all(stored[number] == b"%d" % number for number in range(20)), "these were on disk"
    assert stored[30] == b"30"


def test_a_run_that_ends_without_a_receiver_leaves_its_frames_there(ends, tmp_path, nobody):
    out, spool = tmp_path / "received", tmp_path / "spool"
    sender = ends.sender(nobody, spool=spool, retry_for="1h")
    for number in range(5):
        sender.send("visible", b"%d" % number, name=f"{number}.bin")
    report = sender.close()
    assert (report.pending, report.missing, report.complete) == (5, 0, False)
    assert report.spool.disk_frames == 5
    with pytest.raises(framelane.Incomplete, match="6 frames are in the spool, and sent by the next"):
        with ends.sender(nobody, spool=spool, retry_for=0) as sender:
            sender.send("visible", b"5", name="5.bin")
    with listen_again(lambda: ends.receiver(nobody, out=out)):
        # Nothing is sent anew: what is there is waited for all the same.
        with ends.sender(nobody, spool=spool) as sender:
            pass
        assert sender.report.sent == 6
    assert account(out) == ({number: b"%d" % number for number in range(6)}, {})


def test_a_full_spool_holds_the_program_or_drops_the_oldest(ends, tmp_path, nobody):
    frame = bytes(10_000)
    sender = ends.sender(nobody, spool_memory="25kB", memory="25kB", retry_for="1h")
    with pytest.raises(TimeoutError, match="memory"):
        for _ in range(20):
            sender.send("visible", frame, timeout=0.2)
    assert sender.spool.memory_frames == 2 and sender.spool.dropped == 0
    assert sender.close().missing > 2
    out = tmp_path / "received"
    sender = ends.sender(nobody, spool_memory="25kB", when_full="drop-oldest", retry_for="5m")
    for number in range(20):
        sender.send("visible", frame, name=f"{number}.bin")
    end = time.monotonic() + LIMIT
    while sender.spool.dropped < 18 and time.monotonic() < end:
        time.sleep(0.01)
    with listen_again(lambda: ends.receiver(nobody, out=out)):
        report = sender.finish(timeout=LIMIT)
    assert (report.dropped, report.sent, report.missing, report.complete) == (18, 2, 0, True)
    stored, dropped = account(out)
    assert sorted(stored) == [18, 19] and dropped == {at: "spool-full" for at in range(18)}


def test_deadlines_and_weights_of_some_sources(ends, tmp_path):
    out = tmp_path / "received"
    long_ago = time.time_ns() - 10**9
    with ends.receiver(out=out) as receiver:
        options = dict(deadline={"visible": "50ms"}, weight={"visible": 3, "log": 1}, spool=tmp_path / "spool")
        with ends.sender(receiver.address, sources=["visible", "log"], **options) as sender:
            late = sender.send("visible", b"late", captured=long_ago)
            kept = sender.send("log", b"as old, and kept", captured=long_ago)
            kept.wait(timeout=LIMIT)
            with pytest.raises(framelane.FrameLost):
                late.wait(timeout=LIMIT)
        assert sender.report.complete and sender.report.dropped == 1 and sender.report.sent == 1
    assert account(out) == ({}, {0: "late"})


def test_why_a_spool_cannot_be_used(ends, tmp_path):
    def refused(kind: type[framelane.SpoolError], says: str, spool: pathlib.Path) -> None:
        with pytest.raises(kind, match=says):
            ends.sender("127.0.0.1:9", spool=spool)
        assert issubclass(kind, framelane.SpoolError) and issubclass(kind, framelane.StartError)

    used = tmp_path / "used"
    sender = ends.sender("127.0.0.1:9", spool=used, retry_for="1h")
    refused(framelane.SpoolInUse, rf"in use by another sender \(process {os.getpid()}\)", used)
    sender.close()
    ends.sender("127.0.0.1:9", spool=used).close()

    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "framelane-spool").write_text("spool 99\n")
    refused(framelane.SpoolVersionError, "version 99", newer)
    assert [path.name for path in newer.iterdir()] == ["framelane-spool"]

    other = tmp_path / "other"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    refused(framelane.NotASpool, "holiday.jpg", other)

    file = tmp_path / "file"
    file.write_bytes(b"")
    refused(framelane.SpoolDiskError, "cannot make the folder", file / "spool")


READ_ONLY = """
import sys, framelane
try:
    framelane.Sender("127.0.0.1:9", sources=["visible"], certs=sys.argv[1], spool=sys.argv[2])
except framelane.SpoolDiskError as error:
    print(error)
"""


def test_a_disk_that_is_read_only(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = f'mount -t tmpfs -o ro none "{place}" && exec "$@"'
    run = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"]
    try:
        can = subprocess.run([*run, "true"], capture_output=True, timeout=LIMIT).returncode == 0
    except FileNotFoundError:
        can = False
    if not can:
        pytest.skip("no namespaces to mount something in")
    args = [sys.executable, "-c", READ_ONLY, str(tmp_path / "certs"), str(place / "spool")]
    said = subprocess.run([*run, *args], capture_output=True, text=True, timeout=LIMIT)
    assert "Read-only file system" in said.stdout, said


def test_what_a_spool_is_not_for(ends, tmp_path):
    with pytest.raises(ValueError, match="drop-oldest"):
        ends.sender("127.0.0.1:9", when_full="drop")
    with pytest.raises(ValueError, match="name the folder"):
        ends.sender("127.0.0.1:9", spool_size="1GiB")
    with pytest.raises(ValueError, match="there are none"):
        ends.sender("127.0.0.1:9", sources=[], folders={"old": tmp_path}, spool=tmp_path / "spool")
    with pytest.raises(ValueError, match="no time"):
        ends.sender("127.0.0.1:9", deadline=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_keep_the_spool(ends, tmp_path):
    """Files that are open are the child's as well, and so would their locks be."""
    spool = tmp_path / "spool"
    sender = ends.sender("127.0.0.1:9", spool=spool)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        sender.close()
        ends.sender("127.0.0.1:9", spool=spool).close()
    finally:
        os.close(writing)
        os.waitpid(child, 0)

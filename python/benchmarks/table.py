"""A table of framelane beside imagezmq and vidgear: over loopback, and over an emulated link that loses packets.

    pip install imagezmq 'vidgear[core]' opencv-python-headless    # beside framelane, from a wheel built with --release
    python python/benchmarks/table.py                              # about five minutes; --seconds 3 --only loopback is quicker

Images are 640x480 in colour: raw (922 kB) or JPEG of quality 80. Over loopback they go as fast as they are taken; over the link, 50 ms each way,
as a camera makes them, ten a second. Ages are from the making of an image to its being in the other program's hands. Linux only for the link,
which is ``examples/on_link.rs`` of the library and is built by cargo where it is not there.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

CASES = [
    # library, pattern, kind
    ("imagezmq", "req", "raw"),
    ("framelane.imagezmq", "req", "raw"),
    ("imagezmq", "req", "jpeg"),
    ("framelane.imagezmq", "req", "jpeg"),
    ("framelane", "stream", "raw"),
    ("framelane", "stream", "jpeg"),
    ("vidgear", "req", "jpeg"),
]
LINK_CASES = [
    ("imagezmq", "req", "jpeg"),
    ("framelane.imagezmq", "req", "jpeg"),
    ("imagezmq", "pub", "jpeg"),
    ("framelane.imagezmq", "pub", "jpeg"),
    ("framelane", "stream", "jpeg"),
]
LOSSES = ("0%", "2%", "5%")


def commands(case: tuple[str, str, str], receiver: str, sender: str, seconds: float, rate: float) -> tuple[str, str]:
    """Lines for a shell: the receiving end, and the sending one."""
    library, pattern, kind = case
    end = [sys.executable, str(HERE / "ends.py")]
    if library == "imagezmq" and pattern == "req":
        receiver_at = "*:" + receiver.rsplit(":", 1)[1]
    elif library == "framelane.imagezmq" and pattern == "req":
        receiver_at = "*:" + receiver.rsplit(":", 1)[1]
    elif pattern == "pub":
        receiver_at = sender
    else:
        receiver_at = receiver
    sender_at = "*:" + sender.rsplit(":", 1)[1] if pattern == "pub" else receiver
    tail = [kind, str(seconds), str(rate)]
    quote = lambda words: " ".join(word if word.startswith('"$') else shlex.quote(word) for word in words)
    return (
        quote([*end, "receive", library, pattern]) + f' "{receiver_at}" ' + quote(tail),
        quote([*end, "send", library, pattern]) + f' "{sender_at}" ' + quote(tail),
    )


def read(text: str) -> dict[str, Any]:
    """What both ends have printed."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            found.update(json.loads(line))
    return found


def over_loopback(case: tuple[str, str, str], seconds: float) -> dict[str, Any]:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % asking.getsockname()[1]
    receives, sends = commands(case, address, address, seconds, 0)
    receiving = subprocess.Popen(["sh", "-c", "exec " + receives], stdout=subprocess.PIPE, text=True)
    assert receiving.stdout is not None
    receiving.stdout.readline()
    try:
        sent = subprocess.run(["sh", "-c", "exec " + sends], stdout=subprocess.PIPE, text=True, timeout=seconds + 60).stdout
        said, _ = receiving.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        receiving.kill()
        return {}
    return read(said + "\n" + sent)


def on_link() -> str:
    """The emulated link. It is the same optimised or not, at these rates."""
    for profile in ("release", "debug"):
        program = ROOT / "target" / profile / "examples" / "on_link"
        if program.exists():
            return str(program)
    subprocess.run(["cargo", "build", "--example", "on_link"], cwd=ROOT, check=True)
    return str(program)


def over_link(case: tuple[str, str, str], loss: str, seconds: float, rate: float) -> dict[str, Any]:
    receives, sends = commands(case, "$FAR:5555", "$NEAR:5555", seconds, rate)
    far, near = receives, sends
    if case[1] == "pub":
        # The publisher is there first, and listens at the far end.
        receives, sends = commands(case, "$NEAR:5555", "$FAR:5555", seconds, rate)
        far, near = sends, receives
    try:
        done = subprocess.run(
            [on_link(), f"delay=50ms,loss={loss}", far, near], stdout=subprocess.PIPE, text=True, timeout=seconds + 150
        )
    except subprocess.TimeoutExpired:
        return {}
    return read(done.stdout)


def row(case: tuple[str, str, str], found: dict[str, Any]) -> str:
    library, pattern, kind = case
    name = {"req": "REQ/REP", "pub": "PUB/SUB", "stream": "Sender, Receiver"}[pattern]
    if "frames" not in found:
        return f"| {library} | {name} | {kind} | did not end | | | |"
    memory = f"{found['peak_mb']:.0f} / {found.get('sender_mb', float('nan')):.0f}"
    return (
        f"| {library} | {name} | {kind} | {found['rate']:.1f} | {found['p50_ms']:.1f} | {found['p95_ms']:.1f} | {memory} |"
    )


HEAD = "| library | pattern | images | frames/s | age p50, ms | age p95, ms | memory, MB: receiver / sender |\n|---|---|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=10.0, help="images a second over the link")
    parser.add_argument("--only", choices=("loopback", "link"))
    arguments = parser.parse_args()
    import os

    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="framelane-table-")
    import framelane.imagezmq

    framelane.imagezmq.own_pin()
    if arguments.only != "link":
        print(f"Loopback, as fast as they are taken, {arguments.seconds:g} s each:\n\n{HEAD}", flush=True)
        for case in CASES:
            print(row(case, over_loopback(case, arguments.seconds)), flush=True)
    if arguments.only != "loopback":
        for loss in LOSSES:
            print(f"\n50 ms each way, {loss} loss, {arguments.rate:g} images a second:\n\n{HEAD}", flush=True)
            for case in LINK_CASES:
                print(row(case, over_link(case, loss, arguments.seconds, arguments.rate)), flush=True)


if __name__ == "__main__":
    main()

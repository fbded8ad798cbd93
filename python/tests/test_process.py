"""Signals, forks and spawned processes: in processes of their own."""

from __future__ import annotations

import multiprocessing
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import framelane
from conftest import LIMIT


class Program(subprocess.Popen[str]):
    """One that does not end is killed where it is left, so that a test fails instead of waiting for ever."""

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)


def program(text: str, *args: object) -> Program:
    # Whoever starts the tests in the background may have had SIGINT ignored, and children inherit that.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = heeds + "import framelane, sys\n" + textwrap.dedent(text)
    return Program(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


WAITS = {
    "next": """
        receiver = framelane.Receiver("127.0.0.1:0", certs=sys.argv[1])
        print("ready", flush=True)
        receiver.next()
    """,
    "receipt": """
        sender = framelane.Sender("127.0.0.1:9", sources=["a"], pin="sha256:" + "0" * 64, certs=sys.argv[1], retry_for="1h")
        receipt = sender.send("a", b"x")
        print("ready", flush=True)
        receipt.wait()
    """,
    "memory": """
        sender = framelane.Sender("127.0.0.1:9", sources=["a"], pin="sha256:" + "0" * 64, certs=sys.argv[1], retry_for="1h", memory="2KiB")
        sender.send("a", b"x" * 1500)
        print("ready", flush=True)
        sender.send("a", b"x" * 1500)
    """,
    "with": """
        with framelane.Sender("127.0.0.1:9", sources=["a"], pin="sha256:" + "0" * 64, certs=sys.argv[1], retry_for="1h") as sender:
            sender.send("a", b"x")
            print("ready", flush=True)
    """,
    "for": """
        with framelane.Receiver("127.0.0.1:0", certs=sys.argv[1]) as receiver:
            print("ready", flush=True)
            for frame in receiver: pass
    """,
    "asyncio": """
        import asyncio
        async def main():
            async with framelane.AsyncReceiver("127.0.0.1:0", certs=sys.argv[1]) as receiver:
                print("ready", flush=True)
                await receiver.next()
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_every_wait(wait, tmp_path):
    with program(WAITS[wait], tmp_path / "certs") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        # Whatever it still has to do before it waits.
        time.sleep(0.2)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
        took = time.monotonic() - asked
    assert "KeyboardInterrupt" in errors, errors
    assert process.returncode in (1, 130, -signal.SIGINT), errors
    # 50 ms, the end of the interpreter, and a machine that is busy.
    assert took < 10, took


def test_a_handler_may_raise_and_frames_go_on(ends):
    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Alarm):
                receiver.next(timeout=LIMIT)
            sender.send("visible", b"x")
            assert receiver.next(timeout=LIMIT).bytes == b"x"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def alarm(handler):
    """Has the handler called in a moment, in the middle of whatever is waited for then."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_handler_may_close_what_is_waited_for(ends):
    """As that of SIGTERM does in a service."""
    with ends.receiver() as receiver, alarm(receiver.close), pytest.raises(framelane.Closed):
        receiver.next(timeout=LIMIT)
    for end in ("finish", "close"):
        ended = []
        # Nobody takes its frames, so the third one waits for memory.
        with ends.receiver(queue=1) as receiver:
            sender = ends.sender(receiver.address, memory="8KiB")

            def handle():
                try:
                    ended.append(sender.finish(timeout=0.5) if end == "finish" else sender.close())
                except TimeoutError as error:
                    ended.append(error)
                    sender.stop()

            with alarm(handle), pytest.raises(framelane.RunEnded):
                for _ in range(1_000):
                    sender.send("visible", bytes(4_000))
            assert ended and isinstance(ended[0], TimeoutError) == (end == "finish"), ended


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_leaves_a_block_of_its_parents_as_it_likes(ends):
    with ends.receiver() as receiver:
        child = os.fork()
        if child == 0:
            try:
                with receiver:
                    sys.exit(7)
            except SystemExit as end:
                os._exit(end.code)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_fork_it_is_said(ends):
    """What was made before is refused in the child, by words; what is made there works; the parent goes on."""
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        receipt = sender.send("visible", b"parent")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = []
            for use in (
                lambda: sender.send("visible", b"child"),
                lambda: receipt.wait(),
                lambda: receiver.next(),
                lambda: sender.finish(),
                lambda: receiver.close(),
                lambda: sender.connected,
                lambda: sender.trouble,
                lambda: sender.pending,
                lambda: sender.spool,
                lambda: receipt.stored,
            ):
                try:
                    use()
                    said.append("nothing")
                except framelane.ForkedError as error:
                    said.append("spawn" if "spawn" in str(error) else str(error))
            # What loggers and debuggers ask for.
            said.append("words" if repr(receipt) and repr(sender) and repr(receiver) else "none")
            try:
                with ends.sender(receiver.address, sources=["infrared"]) as other:
                    other.send("infrared", b"child")
                said.append("sent")
            except BaseException as error:
                said.append(repr(error))
            os.write(writing, ",".join(said).encode())
            os._exit(0)
        os.close(writing)
        got = {receiver.next(timeout=LIMIT).bytes for _ in range(2)}
        with os.fdopen(reading) as said:
            assert said.read() == "spawn," * 10 + "words,sent"
        assert os.waitpid(child, 0)[1] == 0
        assert got == {b"parent", b"child"}
        receipt.wait(timeout=LIMIT)


def _send(address, pin, certs):
    with framelane.Sender(address, pin=pin, sources=["visible"], certs=certs) as sender:
        sender.send("visible", b"spawned")


def test_spawn_works(ends):
    spawn = multiprocessing.get_context("spawn")
    with ends.receiver() as receiver:
        child = spawn.Process(target=_send, args=(receiver.address, ends.receiver_pin, ends.place / "sender"))
        child.start()
        assert receiver.next(timeout=LIMIT).bytes == b"spawned"
        child.join(LIMIT)
        assert child.exitcode == 0


def test_the_interpreter_may_end_while_it_is_told_of_much(tmp_path):
    """Futures are settled, and lines logged, by a thread that is not to be in the interpreter when that ends."""
    text = """
        import asyncio
        async def stored(receipt):
            await receipt
        async def main():
            receiver = framelane.AsyncReceiver("127.0.0.1:0", certs=sys.argv[1], latest=True)
            sender = framelane.AsyncSender(receiver.address, sources=["a"], pin=receiver.pin, certs=sys.argv[1], drain=0.1)
            waiting = [asyncio.ensure_future(stored(await sender.send("a", b"x"))) for _ in range(300)]
            waiting.append(asyncio.ensure_future(sender.finish()))
            await waiting[0]
        asyncio.run(main())
    """
    for _ in range(5):
        with program(text, tmp_path / "certs") as process:
            _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors


def test_a_program_may_just_end(tmp_path):
    """Whatever is still open does not hold the end of the interpreter up, nor crash it."""
    text = """
        receiver = framelane.Receiver("127.0.0.1:0", certs=sys.argv[1])
        sender = framelane.Sender(receiver.address, sources=["a"], pin=receiver.pin, certs=sys.argv[1])
        sender.send("a", bytes(100_000))
        try:
            receiver.next(timeout=30)
        except TimeoutError:
            sys.exit(f"no frame has come: {sender.trouble}, {sender.close()}")
    """
    for _ in range(5):
        with program(text, tmp_path / "certs") as process:
            _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors

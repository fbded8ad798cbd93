"""Senders that nobody finishes: their frames are sent, or it is said that they are not."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import multiprocessing
import pickle
import signal
import time

import pytest

import framelane
from framelane import _leaving
from conftest import LIMIT
from test_process import program

FRAMES = 30


def stored(out) -> int:
    return len(framelane.Store(out)["visible"]) if (out / "visible").is_dir() else 0


def wait_for(condition) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


SENDS = """
    sender = framelane.Sender(sys.argv[1], sources=["visible"], pin=sys.argv[2], certs=sys.argv[3], **eval(sys.argv[4]))
    for number in range(30): sender.send("visible", bytes(10_000))
"""
ENDS = {"runs out": "", "lets it go": "    del sender", "raises": "    raise RuntimeError('of its own')"}


@pytest.mark.parametrize("end", ENDS)
def test_frames_are_sent_before_the_interpreter_ends(ends, tmp_path, end):
    out = tmp_path / "out"
    with ends.receiver(out=out) as receiver:
        with program(SENDS + ENDS[end], receiver.address, ends.receiver_pin, ends.place / "sender", "{'drain': '60s'}") as process:
            _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == (end == "raises"), errors
        assert "not stored" not in errors, errors
    assert stored(out) == FRAMES


def test_what_is_not_stored_when_the_interpreter_ends_is_counted(ends):
    """There is no receiver, and none comes."""
    for end, says in [
        ("", "the sender to 127.0.0.1:9 ended before all was stored: 30 frames are not stored"),
        ("    del sender; import time; time.sleep(0.1)", "30 frames were not stored by 127.0.0.1:9, whose sender was let go"),
    ]:
        args = ("127.0.0.1:9", ends.receiver_pin, ends.place / "sender", "{'drain': 0.2, 'retry_for': '1h'}")
        with program(SENDS + end, *args) as process:
            _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0 and says in errors, errors


def test_ctrl_c_ends_what_the_end_of_the_interpreter_waits_for(ends):
    text = SENDS + "    import atexit; atexit.register(lambda: print('ending', flush=True))"
    args = ("127.0.0.1:9", ends.receiver_pin, ends.place / "sender", "{'drain': '1h', 'retry_for': '1h'}")
    with ends.receiver() as receiver, program(text, receiver.address, *args[1:]) as process:
        assert process.stdout is not None and process.stdout.readline() == "ending\n"
        with pytest.raises(BaseException, match="timed out"):
            # Frames that nobody takes are not stored: it waits.
            process.wait(0.5)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
        assert time.monotonic() - asked < 15
    assert "30 frames" in errors and "stored" in errors, errors


def test_one_that_is_let_go_sends_beside_the_program(ends, tmp_path):
    out = tmp_path / "out"
    with ends.receiver(out=out) as receiver:
        sender = ends.sender(receiver.address, drain="1h")
        for _ in range(FRAMES):
            sender.send("visible", bytes(10_000))
        with pytest.warns(ResourceWarning, match="unclosed <Sender to .*: visible>"):
            del sender
            gc.collect()
        wait_for(lambda: stored(out) == FRAMES)


def test_one_that_is_let_go_leaves_its_spool(ends, tmp_path, caplog):
    sender = ends.sender("127.0.0.1:9", spool=tmp_path / "spool", retry_for="1h")
    for _ in range(FRAMES):
        sender.send("visible", b"x")
    with pytest.warns(ResourceWarning, match="30 frames are not known to be stored"):
        del sender
        gc.collect()

    def again():
        try:
            return ends.sender("127.0.0.1:9", spool=tmp_path / "spool", retry_for="1h")
        except framelane.SpoolInUse:
            return None

    found = []
    wait_for(lambda: found or found.extend(filter(None, [again()])) or found)
    assert found[0].spool.found == FRAMES
    found[0].close()
    wait_for(lambda: "30 frames were left in the spool" in caplog.text)


def test_one_that_was_finished_or_stopped_says_nothing(ends, recwarn, caplog):
    with ends.receiver() as receiver:
        for end in (lambda sender: sender.finish(timeout=LIMIT), lambda sender: sender.close(), lambda sender: sender.stop()):
            sender = ends.sender(receiver.address)
            end(sender)
            del sender
        with pytest.raises(framelane.StartError):
            ends.sender("127.0.0.1:9", sources=[])
        gc.collect()
    assert not [one for one in recwarn if issubclass(one.category, ResourceWarning)]
    # A receiver may say that a sender has left before it was there.
    assert "stored" not in caplog.text and "spool" not in caplog.text


def test_an_exception_at_once_loses_nothing_for_want_of_a_connection(ends, tmp_path):
    """The first connection takes a while; the block ends before it is there."""
    out = tmp_path / "out"
    with ends.receiver(out=out) as receiver:
        with pytest.raises(KeyError):
            with ends.sender(receiver.address, drain="60s") as sender:
                sender.send("visible", b"x")
                raise KeyError
        assert sender.report.complete and stored(out) == 1

        async def main():
            async with ends.async_sender(receiver.address, drain="60s") as sender:
                await sender.send("visible", b"y")
                raise KeyError

        with pytest.raises(KeyError):
            asyncio.run(main())
    assert stored(out) == 2


def test_an_exception_says_what_is_not_stored(ends, caplog):
    with pytest.raises(KeyError):
        with ends.sender("127.0.0.1:9", retry_for="1h", drain=0.1) as sender:
            sender.send("visible", b"x")
            raise KeyError
    assert (sender.report.missing, sender.report.complete) == (1, False)
    assert [record.levelno for record in caplog.records if "1 frame is not stored" in record.message] == [logging.WARNING]
    caplog.clear()

    async def main():
        async with ends.async_sender("127.0.0.1:9", retry_for="1h", drain=0.1) as sender:
            await sender.send("visible", b"x")
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert "1 frame is not stored" in caplog.text


def _leaves(how, address, pin, certs):
    """What a child does that finishes nothing."""
    import threading

    if how == "kept":
        globals()["_kept"] = framelane.Sender(address, pin=pin, sources=["visible"], certs=certs, drain="60s")
        sender = globals()["_kept"]
    else:
        sender = framelane.Sender(address, pin=pin, sources=["visible"], certs=certs, drain="60s")

    def send():
        for _ in range(FRAMES):
            sender.send("visible", bytes(10_000))

    if how == "thread":
        late = threading.Timer(0.3, send)
        late.start()
        globals()["_kept"] = sender
    else:
        send()
    if how == "raises":
        raise RuntimeError("of its own")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_loses_nothing(ends, tmp_path, start):
    """It ends without a word to what is registered for the end of the interpreter."""
    context = multiprocessing.get_context(start)
    for how in ["lets go", "kept", "thread", "raises"] if start == "fork" else ["kept"]:
        out = tmp_path / how
        with ends.receiver(out=out) as receiver:
            child = context.Process(target=_leaves, args=(how, receiver.address, ends.receiver_pin, ends.place / "sender"))
            child.start()
            child.join(LIMIT)
            assert child.exitcode == (how == "raises")
        assert stored(out) == FRAMES, how


def test_a_child_of_multiprocessing_says_what_is_not_stored(ends):
    # The child's words are heard as well where the parent has had some to say before it was forked.
    text = """
        import multiprocessing
        parents = framelane.Receiver("127.0.0.1:0", allow=[sys.argv[1]], certs=sys.argv[2])
        def child(end):
            sender = framelane.Sender("127.0.0.1:9", sources=["visible"], pin=sys.argv[1], certs=sys.argv[2], drain=0.2, retry_for="1h")
            for _ in range(30): sender.send("visible", b"x")
            if end == "kept": globals()["kept"] = sender
        for end in ("kept", "let go"):
            process = multiprocessing.get_context("fork").Process(target=child, args=(end,))
            process.start()
            process.join()
    """
    with program(text, ends.receiver_pin, ends.place / "sender") as process:
        _, errors = process.communicate(timeout=LIMIT)
    assert "the sender to 127.0.0.1:9 ended before all was stored: 30 frames are not stored" in errors, errors
    assert "30 frames were not stored by 127.0.0.1:9, whose sender was let go" in errors, errors


SOON = 3.0
"""Seconds: half of one, and a machine that is busy. A receiver that says no last word was once waited for for 4 s."""


def test_nobody_waits_for_a_program_that_does_not_take_its_frames(ends, caplog):
    with ends.receiver() as receiver:
        def sender(**options):
            made = ends.sender(receiver.address, **options)
            made.send("visible", b"x")
            wait_for(lambda: made.connected)
            return made

        one = sender()
        began = time.monotonic()
        report = one.close()
        assert time.monotonic() - began < SOON and report.missing == 1 and report.details["interrupted"]

        one = sender(drain=0.1)
        began = time.monotonic()
        with pytest.raises(KeyError), one:
            raise KeyError
        assert time.monotonic() - began < SOON and "1 frame is not stored" in caplog.text

        async def main():
            for drained in (False, True):
                made = ends.async_sender(receiver.address, drain=0.1)
                await made.send("visible", b"x")
                while not made.connected:
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                if drained:
                    with pytest.raises(KeyError):
                        async with made:
                            raise KeyError
                else:
                    await made.close()
                assert time.monotonic() - began < SOON and made.report.missing == 1

        asyncio.run(main())


def test_many_that_were_not_finished_are_waited_for_at_once(ends):
    text = """
        pin, certs = sys.argv[1:]
        receiver = framelane.Receiver("127.0.0.1:0", allow="any", certs=certs)
        senders = [framelane.Sender(receiver.address, sources=[f"s{n}"], pin=receiver.pin, certs=certs, drain=0.1) for n in range(8)]
        import time
        for n, sender in enumerate(senders): sender.send(f"s{n}", b"x")
        while not all(sender.connected for sender in senders): time.sleep(0.01)
        print("ready", flush=True)
    """
    with program(text, ends.receiver_pin, ends.place / "sender") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        began = time.monotonic()
        _, errors = process.communicate(timeout=LIMIT)
        took = time.monotonic() - began
    assert errors.count("1 frame is not stored") == 8, errors
    # One after the other it was 32 s.
    assert took < 4 * SOON, took


def test_what_runs_is_not_copied(ends):
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for thing in (sender, receiver):
            for make in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="there is no copy"):
                    make(thing)
        gc.collect()
        sender.send("visible", b"x")
        assert receiver.next(timeout=LIMIT).bytes == b"x"


@pytest.mark.parametrize("spool", [None, "spool"])
def test_another_ctrl_c_waits_for_nobody_but_the_disk(ends, tmp_path, caplog, spool):
    """Whoever does not answer, as a receiver that is frozen, has no say in it."""

    class Frozen:
        pending, asked = 3, []

        def finish(self, timeout):
            self.asked.append(timeout)
            if len(self.asked) == 1:
                raise KeyboardInterrupt

        def __getattr__(self, name):
            return getattr(native, name)

    sender = ends.sender("127.0.0.1:9", spool=spool and tmp_path / spool)
    native, sender._native = sender._native, Frozen()
    Frozen.asked.clear()
    with pytest.raises(KeyboardInterrupt):
        with sender:
            raise KeyError
    assert Frozen.asked[1:] == [pytest.approx(_leaving.HASTE, abs=0.1), pytest.approx(_leaving.END if spool else _leaving.HASTE, abs=0.1)]
    assert "of 3 frames it is not known whether they are stored" in caplog.text
    native.finish(LIMIT)

"""How senders end that nobody has finished: their frames are not to be lost without a word."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import multiprocessing.util
import os
import threading
import time
import warnings
import weakref
from typing import List, Protocol, Sequence, Tuple

from . import _native
from ._report import SendReport
from .errors import ForkedError, Incomplete


class Leaving(Protocol):
    """What has to be known of a sender to end it."""

    _native: "_native.Sender"
    _receiver: str
    _keeps: bool
    """It has a spool on disk."""
    _drain_for: float
    _warns: bool
    _stopped: bool
    _report: SendReport | None

    @property
    def connected(self) -> bool: ...

    def stop(self) -> None: ...

    def _ended(self, text: str) -> SendReport: ...


END = 60.0
"""Seconds that a sender that was told to stop has for its last words, and for bringing the spool to disk."""
WORDS = 0.5
"""Seconds that the receiver has for its last words: to confirm what it has. One whose program does not take its frames says none."""
HASTE = 0.2
"""The same where the program is to end at once, and no spool to be brought to disk."""
PATIENCE = 2.0
"""Seconds without a connection after which nothing more is waited for. The first one takes a while to make."""
LONGEST = 86_400.0
"""Seconds that a sender which nobody has any more sends, at most."""
SILENCE = 1.0
"""Seconds after which it is said that frames are waited for."""
PIECE = 0.1
"""Seconds between two looks at the connection."""

_LOG = logging.getLogger("framelane")
_open: "weakref.WeakSet[Leaving]" = weakref.WeakSet()
_forgotten: List[Tuple[_native.Sender, float]] = []
"""Those whose programs have let them go, and until when they send."""
_registered = 0
"""The process in which the end of the interpreter is waited for."""


def opened(sender: "Leaving") -> None:
    """Takes note of a sender."""
    global _registered
    _open.add(sender)
    # Behind the registration of the threads that do the work, and called before it: they are still there then.
    if _registered != os.getpid():
        _registered = os.getpid()
        atexit.register(_at_exit)
        if multiprocessing.parent_process() is not None:
            # Such a child ends without a word to whoever has asked for the end of the interpreter. Behind all others, as those
            # that empty queues.
            multiprocessing.util.Finalize(None, _at_end_of_child, exitpriority=-1_000)


def _after_fork() -> None:
    """The threads that send stayed in the parent, and so do the senders."""
    _open.clear()
    _forgotten.clear()


os.register_at_fork(after_in_child=_after_fork)


def _is_open(sender: "Leaving") -> bool:
    return hasattr(sender, "_native") and not sender._stopped and sender._report is None


def _warn(sender: "Leaving", pending: int | None) -> None:
    if not sender._warns:
        return
    frames = "1 frame is" if pending == 1 else f"{pending or 'some'} frames are"
    left = "" if pending == 0 else f", and {frames} not known to be stored"
    warnings.warn(f"unclosed {sender!r}{left}: use \"with\", or call finish()", ResourceWarning, stacklevel=3, source=sender)


def forgotten(sender: "Leaving") -> None:
    """The program has let a sender go: it sends what it has beside the program. Does not wait."""
    if not _is_open(sender):
        return
    native = sender._native
    try:
        pending = native.pending
        # A spool is free for the next sender as soon as may be, which sends what is in it.
        drain = 0.0 if sender._keeps else min(sender._drain_for, LONGEST)
        native.leave(drain, sender._receiver if sender._warns else None)
        _forgotten.append((native, time.monotonic() + drain))
        _drop_finished()
    except ForkedError:
        return
    _warn(sender, pending)


def _drop_finished() -> None:
    # Other threads, and the collector between two lines, may add to the list or shorten it: each entry is taken out by itself.
    for entry in list(_forgotten):
        if entry[0].finish(0.0) is not None:
            with contextlib.suppress(ValueError):
                _forgotten.remove(entry)


def check(sender: "Leaving", report: SendReport) -> None:
    """At the end of a block that has ended well.

    :raises Incomplete: not every frame is stored.
    """
    if not report.complete:
        raise Incomplete(report.words(), report)
    if report.error is not None and not report.sent:
        _LOG.warning("nothing was sent to %s, and nothing could have been: %s", sender._receiver, report.error)


class _Waiting:
    """How long frames of a sender are still waited for."""

    def __init__(self, sender: "Leaving", end: float) -> None:
        self.sender, self._end = sender, end
        self.pending = sender._native.pending
        """Frames that were not settled when it began."""
        self._began = time.monotonic()
        self._alone_since: float | None = None
        self._said = not sender._warns

    def left(self) -> float:
        """Seconds until the next look; 0 where it was long enough."""
        now = time.monotonic()
        if self.sender.connected:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > PATIENCE:
            return 0.0
        if not self._said and now - self._began > SILENCE:
            self._said = True
            _LOG.warning(
                "%s frames are being sent to %s still, for up to %.0f s; Ctrl-C ends that",
                self.pending or "some",
                self.sender._receiver,
                self._end - self._began,
            )
        return max(0.0, min(PIECE, self._end - now))


def wind_up(senders: "Sequence[Tuple[Leaving, float]]") -> None:
    """Goes on sending until then, as long as there is a connection; stops, and says what is not stored. All of them at once."""
    waiting = [_Waiting(sender, end) for sender, end in senders]
    hurry = True
    try:
        for one in waiting:
            while (left := one.left()) > 0 and one.sender._native.finish(left) is None:
                pass
        hurry = False
    finally:
        # Where it was another Ctrl-C, whoever does not answer is waited for no more, and the disk of a spool is.
        texts = cut_short([one.sender for one in waiting], hurry)
        for one, text in zip(waiting, texts):
            _say(one.sender, text, one.pending)


def cut_short(senders: "Sequence[Leaving]", hurry: bool = False) -> List[str | None]:
    """Stops senders, and gives their reports; ``None`` for those that cannot be waited for."""
    natives = [sender._native for sender in senders]
    for sender in senders:
        sender.stop()
    texts = _finished(natives, HASTE if hurry else WORDS)
    for sender, text in zip(senders, texts):
        if text is None:
            # Told once more, it waits for no last words.
            sender.stop()
    until = time.monotonic() + (HASTE if hurry else END)
    for at, sender in enumerate(senders):
        if texts[at] is None:
            texts[at] = sender._native.finish(END if sender._keeps else max(0.0, until - time.monotonic()))
    return texts


def _finished(natives: "Sequence[_native.Sender]", limit: float) -> List[str | None]:
    """The reports of those that are at their end within so many seconds."""
    until = time.monotonic() + limit
    return [native.finish(max(0.0, until - time.monotonic())) for native in natives]


async def wind_up_soon(sender: "Leaving", end: float) -> None:
    """The same for asyncio."""
    waiting = _Waiting(sender, end)
    ending = sender._native.finish_soon()
    try:
        while (left := waiting.left()) > 0 and not ending.done():
            await asyncio.wait({ending}, timeout=left)
    finally:
        _say(sender, await cut_short_soon(sender, ending), waiting.pending)


async def cut_short_soon(sender: "Leaving", ending: "asyncio.Future[str]") -> str | None:
    """The same for asyncio."""
    for limit in (WORDS, END):
        sender.stop()
        done, _ = await asyncio.wait({ending}, timeout=limit)
        if done:
            return ending.result()
    return None


def _say(sender: "Leaving", text: str | None, pending: int | None) -> None:
    if text is None:
        _LOG.warning(
            "the sender to %s was ended without waiting for its last words: of %s frames it is not known whether they are stored",
            sender._receiver,
            "some" if pending is None else pending,
        )
        return
    report = sender._ended(text)
    if not report.complete and sender._warns:
        _LOG.warning("the sender to %s ended before all was stored: %s", sender._receiver, report.words())


def _at_exit() -> None:
    """Before the interpreter ends, frames that are under way have the time that they would have after an exception."""
    began = time.monotonic()
    senders = [sender for sender in list(_open) if _is_open(sender)]
    try:
        ending = [sender for sender in senders if _ends(sender)]
        wind_up([(sender, began + sender._drain_for) for sender in ending])
        for native, end in _forgotten:
            native.finish(max(0.0, end - time.monotonic()))
        natives = [native for native, _ in _forgotten]
        for limit in (WORDS, END):
            for native in natives:
                native.stop()
            natives = [native for native, text in zip(natives, _finished(natives, limit)) if text is None]
    except ForkedError:
        pass
    finally:
        for sender in senders:
            sender._stopped = True


def _at_end_of_child() -> None:
    """The same in a child of :mod:`multiprocessing`, in the same order: threads first, which may be sending still."""
    # Does nothing when it is called again, which it is at once.
    join = getattr(threading, "_shutdown", None)
    if join is not None:
        join()
    _at_exit()
    _native.end_telling()


def _ends(sender: "Leaving") -> bool:
    """Has a sender finish; False where none of its frames is under way."""
    try:
        pending = sender._native.pending
        _warn(sender, pending)
        if pending == 0:
            return False
        sender._native.finish(0.0)
    except ForkedError:
        return False
    return True

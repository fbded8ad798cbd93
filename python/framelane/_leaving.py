"""How senders end that nobody has finished: their frames are not to be lost without a word."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import time
import warnings
import weakref
from typing import TYPE_CHECKING, List, Tuple

from . import _native
from ._report import SendReport
from .errors import ForkedError, Incomplete

if TYPE_CHECKING:
    from ._sender import _Sending

END = 60.0
"""Seconds that a sender that was told to stop has for its last words, and for bringing the spool to disk."""
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
_open: "weakref.WeakSet[_Sending]" = weakref.WeakSet()
_forgotten: List[Tuple[_native.Sender, float]] = []
"""Those whose programs have let them go, and until when they send."""
_registered = 0
"""The process in which the end of the interpreter is waited for."""


def opened(sender: "_Sending") -> None:
    """Takes note of a sender."""
    global _registered
    _open.add(sender)
    # Behind the registration of the threads that do the work, and called before it: they are still there then.
    if _registered != os.getpid():
        _registered = os.getpid()
        atexit.register(_at_exit)


def _after_fork() -> None:
    """The threads that send stayed in the parent, and so do the senders."""
    _open.clear()
    _forgotten.clear()


os.register_at_fork(after_in_child=_after_fork)


def _is_open(sender: "_Sending") -> bool:
    return hasattr(sender, "_native") and not sender._stopped and sender._report is None


def _warn(sender: "_Sending", pending: int | None) -> None:
    if not sender._warns:
        return
    frames = "1 frame is" if pending == 1 else f"{pending or 'some'} frames are"
    left = "" if pending == 0 else f", and {frames} not known to be stored"
    warnings.warn(f"unclosed {sender!r}{left}: use \"with\", or call finish()", ResourceWarning, stacklevel=3, source=sender)


def forgotten(sender: "_Sending") -> None:
    """The program has let a sender go: it sends what it has beside the program. Does not wait."""
    if not _is_open(sender):
        return
    native = sender._native
    try:
        pending = native.pending
        # A spool is free for the next sender as soon as may be, which sends what is in it.
        drain = 0.0 if sender._keeps else min(sender._drain_for, LONGEST)
        native.leave(drain, sender._receiver if sender._warns else None)
        _forgotten[:] = [(one, end) for one, end in _forgotten if one.finish(0.0) is None]
    except ForkedError:
        return
    _forgotten.append((native, time.monotonic() + drain))
    _warn(sender, pending)


def check(sender: "_Sending", report: SendReport) -> None:
    """At the end of a block that has ended well.

    :raises Incomplete: not every frame is stored.
    """
    if not report.complete:
        raise Incomplete(report.words(), report)
    if report.error is not None and not report.sent:
        _LOG.warning("nothing was sent to %s, and nothing could have been: %s", sender._receiver, report.error)


class _Waiting:
    """How long frames of a sender are still waited for."""

    def __init__(self, sender: "_Sending", end: float) -> None:
        self._sender, self._end = sender, end
        self.pending = sender._native.pending
        """Frames that were not settled when it began."""
        self._began = time.monotonic()
        self._alone_since: float | None = None
        self._said = not sender._warns

    def left(self) -> float:
        """Seconds until the next look; 0 where it was long enough."""
        now = time.monotonic()
        if self._sender.connected:
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
                self._sender._receiver,
                self._end - self._began,
            )
        return max(0.0, min(PIECE, self._end - now))


def wind_up(sender: "_Sending", end: float) -> None:
    """Goes on sending until then, as long as there is a connection; stops, and says what is not stored."""
    waiting = _Waiting(sender, end)
    last_words = END
    try:
        while (left := waiting.left()) > 0 and sender._native.finish(left) is None:
            pass
    except BaseException:
        # Another Ctrl-C: whoever does not answer is waited for no more, and the disk of a spool is.
        last_words = END if sender._keeps else HASTE
        raise
    finally:
        sender.stop()
        _say(sender, sender._native.finish(last_words), waiting.pending)


async def wind_up_soon(sender: "_Sending", end: float) -> None:
    """The same for asyncio."""
    waiting = _Waiting(sender, end)
    ending = sender._native.finish_soon()
    try:
        while (left := waiting.left()) > 0 and not ending.done():
            await asyncio.wait({ending}, timeout=left)
    finally:
        sender.stop()
        done, _ = await asyncio.wait({ending}, timeout=END)
        _say(sender, ending.result() if done else None, waiting.pending)


def _say(sender: "_Sending", text: str | None, pending: int | None) -> None:
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
        interrupted: KeyboardInterrupt | None = None
        for sender in ending:
            try:
                wind_up(sender, began + (sender._drain_for if interrupted is None else 0.0))
            except KeyboardInterrupt as ctrl_c:
                interrupted = ctrl_c
        if interrupted is not None:
            raise interrupted
        for native, end in _forgotten:
            native.finish(max(0.0, end - time.monotonic()))
            native.stop()
            native.finish(END)
    except ForkedError:
        pass
    finally:
        for sender in senders:
            sender._stopped = True


def _ends(sender: "_Sending") -> bool:
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

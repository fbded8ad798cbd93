"""What can go wrong. Messages say what failed, where, and what to do next, with the names that parameters have here.

Waits that take longer than their ``timeout`` raise Python's own :class:`TimeoutError`; what cannot be meant (``None`` for an
image, a weight of 0) raises :class:`ValueError` or :class:`TypeError`, and what is not there (a source of a store, a frame of a
source) :class:`KeyError` or :class:`IndexError`, as in Python everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._report import SendReport


class FramelaneError(Exception):
    """All of the following."""


class StartError(FramelaneError):
    """A sender cannot start: an address, a pin, a source or a certificate that cannot be used."""


class SpoolError(StartError):
    """The folder of a spool cannot be used. All of the following four."""


class SpoolInUse(SpoolError):
    """Another sender, of this process or of another, has it."""


class SpoolVersionError(SpoolError):
    """A version of framelane made it that this one does not know. Nothing in it was touched."""


class NotASpool(SpoolError):
    """There is something else in the folder."""


class SpoolDiskError(SpoolError):
    """The disk says no: it is full or read-only, or the folder may not be written."""


class ListenError(FramelaneError):
    """A receiver cannot start: an address in use, nobody who may send, a store that cannot be opened."""


class IdentityError(StartError, ListenError):
    """The certificate and key of this machine cannot be read or made."""


class PushError(FramelaneError):
    """A frame was not taken: no such source, or a name that cannot travel."""


class NotStored(FramelaneError):
    """A frame that was sent is not stored at the receiver."""


class FrameLost(NotStored):
    """It was given up: too late for its deadline, or refused by the receiver."""


class RunEnded(NotStored, PushError):
    """The sender has ended before: it was finished or stopped, or there was no receiver for as long as ``retry_for``."""


class Incomplete(FramelaneError):
    """A sender has finished, and not every frame is stored. ``report`` says which, and why."""

    def __init__(self, message: str, report: "SendReport | None" = None) -> None:
        super().__init__(message)
        self.report = report


class ReceiveError(FramelaneError):
    """A receiver has ended by itself, or cannot go on."""


class Closed(FramelaneError):
    """No frame will come any more: the receiver was closed, or has ended."""


class EncodeError(FramelaneError, ValueError):
    """An array cannot be encoded in this way."""


class DecodeError(FramelaneError, ValueError):
    """A frame's bytes are no image that can be decoded."""


class StoreError(FramelaneError):
    """A store on disk cannot be read, or a file in it is not what was stored."""


class ForkedError(FramelaneError):
    """Something was made before the process was forked, and is of no use in the child."""

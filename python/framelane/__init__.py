"""Moves camera frames over lossy links, and proves that every one arrived.

::

    import framelane

    with framelane.Sender("host:4433", pin="sha256:...", sources=["visible"]) as sender:
        sender.send("visible", image)  # a numpy array, or the bytes of an encoded image

    for frame in framelane.Receiver("0.0.0.0:4433", allow=["sha256:..."], out="received"):
        print(frame.source, frame.captured, frame.array().shape)

:class:`Sender` and :class:`Receiver` wait and let other threads run; :class:`AsyncSender` and :class:`AsyncReceiver` are for
asyncio; :class:`Store` reads what was stored; :mod:`framelane.imagezmq` stands in for imagezmq.

Both ends have a certificate, made in the folder ``certs`` where it is missing, and know each other by its pin:
:func:`own_pin` says this machine's.
"""

from __future__ import annotations

import os

from . import _native, _units
from ._receiver import AsyncReceiver, Frame, Receiver
from ._report import ReceiveReport, SendReport, SpoolFigures
from ._sender import AsyncSender, Receipt, Sender
from ._store import Pairs, Source, Store, StoredFrame
from .errors import (
    Closed,
    DecodeError,
    EncodeError,
    ForkedError,
    FramelaneError,
    FrameLost,
    IdentityError,
    Incomplete,
    ListenError,
    NotASpool,
    NotStored,
    PushError,
    ReceiveError,
    RunEnded,
    SpoolDiskError,
    SpoolError,
    SpoolInUse,
    SpoolVersionError,
    StartError,
    StoreError,
)

__version__ = _native.VERSION


def own_pin(certs: "str | os.PathLike[str]" = "certs") -> str:
    """This machine's pin, ``sha256:`` and 64 hex digits, which peers are told. Certificate and key are made in the folder
    ``certs`` where they are missing."""
    return _native.own_pin(_units.path(certs))


__all__ = [
    "AsyncReceiver",
    "AsyncSender",
    "Closed",
    "DecodeError",
    "EncodeError",
    "ForkedError",
    "Frame",
    "FrameLost",
    "FramelaneError",
    "IdentityError",
    "Incomplete",
    "ListenError",
    "NotASpool",
    "NotStored",
    "Pairs",
    "PushError",
    "Receipt",
    "ReceiveError",
    "ReceiveReport",
    "Receiver",
    "RunEnded",
    "SendReport",
    "Sender",
    "Source",
    "SpoolDiskError",
    "SpoolError",
    "SpoolFigures",
    "SpoolInUse",
    "SpoolVersionError",
    "StartError",
    "Store",
    "StoreError",
    "StoredFrame",
    "own_pin",
]

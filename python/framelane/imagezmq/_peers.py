"""Senders that programs do not see: of replies, of published images and of subscriptions."""

from __future__ import annotations

import collections
import time
from typing import Tuple

from .._native import Body
from .._sender import Sender
from ..errors import FramelaneError, PushError, RunEnded
from ._keys import transport_to

FOREVER = "3650d"
LIVE = 1.0
"""How old a published image may be when it arrives, in seconds."""
PEERS = 64
ADDRESS = 300
"""Characters of a peer's address: a host's name has 253, and there is a port behind it."""


class Own(Sender):
    """A sender that programs do not see, and so cannot finish: it says nothing where they end without having closed it."""

    _warns = False


class Peers:
    """Senders to the peers that have said where they listen, at most as many as a hub has places for."""

    def __init__(self, certs: str, source: str, deadline: float | None = None) -> None:
        self._certs, self._source, self._deadline = certs, source, deadline
        self._senders: "collections.OrderedDict[Tuple[str, str], Sender]" = collections.OrderedDict()

    def push(self, pin: str, address: str, body: Body, extension: str) -> bool:
        for _ in range(2):
            try:
                self._to(pin, address)._native.push((self._source, body, extension, None, None), 0.0)
                return True
            except TimeoutError:
                return False
            except (RunEnded, PushError):
                # It was away for too long. It may be back.
                self.forget(pin, address)
            except (FramelaneError, ValueError):  # an address that is none
                return False
        return False

    def _to(self, pin: str, address: str) -> Sender:
        key = (pin, address)
        sender = self._senders.get(key)
        if sender is None:
            sender = Own(
                address,
                pin=pin,
                sources=[self._source],
                deadline=self._deadline,
                retry_for=10.0,
                certs=self._certs,
                transport=transport_to(address.rpartition(":")[0]),
                drain=LIVE,
            )
            self._senders[key] = sender
            while len(self._senders) > PEERS:
                self._senders.popitem(last=False)[1].stop()
        self._senders.move_to_end(key)
        return sender

    def forget(self, pin: str, address: str) -> None:
        sender = self._senders.pop((pin, address), None)
        if sender is not None:
            sender.stop()

    def close(self) -> None:
        senders = list(self._senders.values())
        self._senders.clear()
        # What was said last, as a reply, is still to arrive, at all of them at once.
        until = time.monotonic() + LIVE
        for sender in senders:
            sender._native.finish(0.0)
        for sender in senders:
            try:
                sender.finish(max(0.0, until - time.monotonic()))
            except TimeoutError:
                sender.stop()

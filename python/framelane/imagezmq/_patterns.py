"""What an ImageSender does in each of its patterns."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import Any, Dict, List, Tuple

import numpy.typing as npt

from .._native import Body
from .._receiver import Receiver
from .._sender import Receipt
from ..errors import FramelaneError, RunEnded
from ._facing import Facing
from ._keys import transport_to
from ._note import note_of, with_note
from ._peers import ADDRESS, FOREVER, LIVE, PEERS, Own, Peers

AGAIN = 2.0
"""Seconds without a reply after which an image that has arrived is sent again: the hub may have been restarted with it in hand."""
FORGOTTEN = 5.0
"""Seconds without a subscription after which a subscriber is forgotten."""

_LOG = logging.getLogger("framelane")


class Asking:
    """REQ: an image, and the reply to it."""

    def __init__(self, host: str, port: str, pins: List[str], certs: str) -> None:
        self.port = int(port)
        self._life = secrets.token_hex(8)
        self._count = 0
        at = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
        self._source = f"images-{self._life}"
        self._sender = Own(
            at, pin=pins, sources=[self._source], retry_for=FOREVER, certs=certs, transport=transport_to(host), drain=0
        )
        self._facing = Facing(host, port)
        self._replies = Receiver(self._facing.listen, allow=pins, certs=certs)
        self._has_said = False

    def send(
        self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None, handing_over: float | None
    ) -> bytes:
        self._count += 1
        note = {"msg": msg, "life": self._life, "count": self._count}
        captured = time.time_ns()

        def push() -> Receipt:
            # Where replies are to go may have changed since the last time.
            note["reply"] = self._facing.address(self._replies.port)
            return self._push(with_note(image, note), extension, captured, handing_over)

        end = None if timeout is None else time.monotonic() + timeout
        receipt = push()
        while True:
            left = AGAIN if end is None else min(AGAIN, max(0.0, end - time.monotonic()))
            try:
                frame = self._replies.next(left)
            except TimeoutError:
                if end is not None and time.monotonic() >= end:
                    raise TimeoutError("the hub has not replied within the timeout") from None
                if receipt.stored is False:
                    raise self._why() from None
                if receipt.stored:
                    self._say(note["reply"])
                    receipt = push()
                continue
            reply, about = note_of(frame._body)
            if about.get("count") == self._count and about.get("life") == self._life:
                return reply.tobytes()

    def _say(self, address: str | None) -> None:
        """Once: it may be a hub whose program takes long, or one that cannot reach us."""
        if not self._has_said:
            self._has_said = True
            _LOG.warning(
                "an image has arrived at the hub, and no reply has come within %.0f s; it is sent again. Replies are waited for at %s: "
                "is the hub's program at work, and can its machine reach that address?",
                AGAIN,
                address,
            )

    def _push(self, body: Body, extension: str, captured: int, limit: float | None) -> Receipt:
        try:
            pushed = self._sender._native.push((self._source, body, extension, None, captured), limit)
        except RunEnded:
            raise self._why() from None
        return Receipt(pushed)

    def _why(self) -> FramelaneError:
        """Why nothing can be sent any more."""
        return FramelaneError(self._sender.finish().words())

    def close(self) -> None:
        self._sender.close()
        self._replies.close()


class Publishing:
    """PUB: images to whoever has subscribed."""

    def __init__(self, host: str, port: str, pins: List[str], certs: str) -> None:
        self._certs = certs
        self._life = secrets.token_hex(8)
        self._source = f"images-{self._life}"
        self._peers = Peers(certs, self._source, deadline=LIVE)
        self._subscriptions = Receiver(f"{host}:{port}", allow=pins, latest=True, certs=certs)
        self.port = self._subscriptions.port
        self._heard: Dict[Tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, name="framelane-subscriptions", daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        for frame in self._subscriptions:
            _, note = note_of(frame._body)
            address = note.get("reply")
            if isinstance(address, str) and address.isascii() and len(address) <= ADDRESS and frame.sender:
                self._note((frame.sender, address))

    def _note(self, peer: Tuple[str, str]) -> None:
        """Takes a subscription; of more than there are places for, those that were heard of last."""
        with self._lock:
            self._heard.pop(peer, None)
            self._heard[peer] = time.monotonic()
            while len(self._heard) > PEERS:
                del self._heard[next(iter(self._heard))]

    def send(
        self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None, handing_over: float | None
    ) -> None:
        now = time.monotonic()
        with self._lock:
            for peer, heard in list(self._heard.items()):
                if now - heard > FORGOTTEN:
                    del self._heard[peer]
                    self._peers.forget(*peer)
            subscribers = list(self._heard)
        if not subscribers:
            return
        framed = with_note(image, {"msg": msg})
        for pin, address in subscribers:
            # One that is slower than its images come gets the next one.
            self._peers.push(pin, address, framed, extension)

    def close(self) -> None:
        self._subscriptions.close()
        self._listening.join()
        self._peers.close()

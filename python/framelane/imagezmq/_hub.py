"""The receiving end, with imagezmq's methods."""

from __future__ import annotations

import collections
import os
import secrets
import threading
import time
from typing import Any, Dict, List, Tuple

import numpy as np
import numpy.typing as npt

from .. import _codec
from .._native import Body
from .._receiver import Frame, Receiver
from .._sender import Pins, Sender
from ..errors import Closed, DecodeError, FramelaneError
from ._facing import Facing, is_here
from ._keys import key_folder, parse_address, trusted_pins
from ._note import note_of, with_note
from ._peers import ADDRESS, FOREVER, PEERS, Own, Peers
from ._socket import RCVTIMEO, Closing, Context, Limit, Socket

HEARTBEAT = 0.5
"""Seconds between two subscriptions."""


class ImageHub(Closing):
    """Receives images, as imagezmq's.

    :param open_port: where to listen, ``tcp://*:PORT`` (REQ/REP), or a publisher's ``tcp://HOST:PORT`` (PUB/SUB).
    :param REQ_REP: True listens and replies, False subscribes.
    :param allow: pins of the senders that may send (REQ/REP), ``"any"`` for all; pins of the publishers (PUB/SUB).
    :param certs: the folder of this end's identity.
    """

    def __init__(
        self,
        open_port: str = "tcp://*:5555",
        REQ_REP: bool = True,
        *,
        allow: Pins = None,
        certs: "str | os.PathLike[str] | None" = None,
    ) -> None:
        self.REQ_REP = REQ_REP
        self.zmq_socket = Socket(self)
        self.zmq_context = Context(self)
        self._allow, self._certs = allow, key_folder(certs)
        self._taking: Receiver | None = None
        if REQ_REP:
            self.init_reqrep(open_port)
        else:
            self.init_pubsub(open_port)

    def _begin(self) -> None:
        """Ends what it did, and forgets it."""
        self.close()
        self._current: Dict[str, Any] | None = None
        """The note of the image that is to be replied to."""
        self._from: str | None = None
        self._seen: "collections.OrderedDict[str, Tuple[int, bytes | None]]" = collections.OrderedDict()
        self._subscribed: List[Tuple[Sender, Facing]] = []
        self._ended = threading.Event()

    def init_reqrep(self, address: str) -> None:
        """Listens for senders (REQ/REP), instead of what it did."""
        host, port = parse_address(address)
        pins = trusted_pins(self._allow, "FRAMELANE_ALLOW", self._certs)
        self._begin()
        self.REQ_REP = True
        self._taking = Receiver(f"{host}:{port}", allow=pins, certs=self._certs)
        self._peers = Peers(self._certs, f"replies-{secrets.token_hex(8)}")

    def init_pubsub(self, address: str) -> None:
        """Subscribes to a publisher (PUB/SUB), instead of what it did."""
        host, port = parse_address(address)
        self._publishers = trusted_pins(self._allow, "FRAMELANE_PIN", self._certs)
        self._begin()
        self.REQ_REP = False
        self._listens = Facing(host or "127.0.0.1", port).listen
        self._taking = Receiver(self._listens, allow=self._publishers, latest=True, certs=self._certs)
        self._subscribing = threading.Thread(target=self._subscribe, args=(self._ended,), name="framelane-subscribe", daemon=True)
        self.connect(address)
        self._subscribing.start()

    @property
    def _receiver(self) -> Receiver:
        if self._taking is None:
            raise Closed("this was closed")
        return self._taking

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._receiver.port

    def connect(self, open_port: str) -> None:
        """Subscribes to another publisher (PUB/SUB).

        :raises FramelaneError: it is on another machine, and the first one was on this: such a hub listens within the machine.
        """
        if self.REQ_REP:
            return
        host, port = parse_address(open_port)
        host = host or "127.0.0.1"
        if self._listens != ":0" and not is_here(host):
            raise FramelaneError(f"this hub listens within its machine, where its first publisher is: name {open_port} first")
        sender = Own(
            f"{host}:{port}",
            pin=self._publishers,
            sources=[f"subscribe-{secrets.token_hex(8)}"],
            deadline=2 * HEARTBEAT,
            retry_for=FOREVER,
            certs=self._certs,
            drain=0,
        )
        self._subscribed.append((sender, Facing(host, port)))

    def _subscribe(self, ended: threading.Event) -> None:
        """Says again and again where we are, so that a publisher that was restarted knows as well, and one that we reach by
        another network now."""
        while not ended.wait(HEARTBEAT if any(sender.connected for sender, _ in self._subscribed) else 0.05):
            for sender, facing in list(self._subscribed):
                if sender.pending:
                    continue
                here = facing.address(self._receiver.port)
                if here is None:
                    continue
                try:
                    said = with_note(Body(b""), {"reply": here})
                    sender._native.push((sender._names[0], said, "bin", None, None), 0.0)
                except (TimeoutError, FramelaneError):
                    continue

    def recv_image(self, copy: bool = False, timeout: float | None = None) -> Tuple[Any, "npt.NDArray[Any]"]:
        """Waits for the next image. The array is read-only where it was sent raw, as imagezmq's.

        :param timeout: seconds, then :class:`TimeoutError`; imagezmq waits for ever.
        :returns: the text that came with it, and the image.
        """
        while True:
            msg, body = self._next(timeout)
            try:
                array = _codec.decoded(body, "bgr")
            except DecodeError:
                if self.REQ_REP:
                    self.send_reply(b"not an image")
                continue
            return msg, np.array(array) if copy else array

    def recv_jpg(self, copy: bool = False, timeout: float | None = None) -> Tuple[Any, bytes]:
        """Waits for the next JPEG image. Returns the text that came with it, and its bytes."""
        msg, body = self._next(timeout)
        return msg, body.tobytes()

    def _next(self, timeout: float | None) -> Tuple[Any, Body]:
        if self._current is not None:
            raise FramelaneError("the image before has no reply yet: each recv_image or recv_jpg is followed by one send_reply")
        limit = Limit(timeout, self.zmq_socket, RCVTIMEO)
        end = None if limit.seconds is None else time.monotonic() + limit.seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                frame = self._receiver.next(left)
            except TimeoutError as error:
                raise limit.over(error) from error
            body, note = note_of(frame._body)
            if self._is_new(frame, note):
                self._from = frame.sender
                self._current = note if self.REQ_REP else None
                return note.get("msg", frame.name), body

    def _is_new(self, frame: Frame, note: Dict[str, Any]) -> bool:
        """False where it was handed out before; where it was replied to, that is said again."""
        life, count = note.get("life"), note.get("count")
        if not isinstance(life, str) or len(life) > 64 or not isinstance(count, int):
            return True
        last, reply = self._seen.get(life, (0, None))
        if count > last:
            self._seen[life] = (count, None)
            self._seen.move_to_end(life)
            while len(self._seen) > 4 * PEERS:
                self._seen.popitem(last=False)
            return True
        if count == last and reply is not None:
            self._say(frame.sender, note, reply)
        return False

    def send_reply(self, reply_message: bytes | str = b"OK") -> None:
        """Replies to the image that was received last, as often as it takes its sender to hear of it.

        :raises FramelaneError: there is none that was not replied to, or this hub subscribes (imagezmq: ``zmq.ZMQError``).
        """
        if not self.REQ_REP:
            raise FramelaneError("a hub that subscribes (REQ_REP=False) has nobody to reply to")
        if self._current is None:
            raise FramelaneError("there is no image to reply to: each recv_image or recv_jpg is followed by one send_reply")
        reply = reply_message.encode() if isinstance(reply_message, str) else bytes(reply_message)
        note, self._current = self._current, None
        life, count = note.get("life"), note.get("count")
        if isinstance(life, str) and isinstance(count, int):
            self._seen[life] = (count, reply)
            self._say(self._from, note, reply)

    def _say(self, pin: str | None, note: Dict[str, Any], reply: bytes) -> None:
        address = note.get("reply")
        if pin is None or not isinstance(address, str) or not address.isascii() or len(address) > ADDRESS:
            return
        body = with_note(Body(reply), {"life": note.get("life"), "count": note.get("count")})
        self._peers.push(pin, address, body, "bin")

    def close(self) -> None:
        """Ends the connection. Replies that are under way still go out."""
        taking, self._taking = self._taking, None
        if taking is None:
            return
        self._ended.set()
        if self.REQ_REP:
            self._peers.close()
        else:
            self._subscribing.join()
            for sender, _ in self._subscribed:
                sender.close()
        taking.close()

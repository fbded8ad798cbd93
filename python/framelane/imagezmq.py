"""Stands in for imagezmq: change ``import imagezmq`` to ``import framelane.imagezmq as imagezmq``.

:class:`ImageSender` and :class:`ImageHub` have the methods of imagezmq 1.2, in both of its patterns:

| | REQ/REP (``REQ_REP=True``) | PUB/SUB (``REQ_REP=False``) |
|---|---|---|
| ``ImageSender`` | connects to the hub; ``send_image`` waits for the hub's reply | listens; sends to whoever has subscribed |
| ``ImageHub`` | listens; ``recv_image``, then ``send_reply`` | subscribes; ``recv_image`` gives the newest image |

What is different: a hub that is restarted, or is started after its senders, is found again by itself, and an image without a
reply is sent again; a slow subscriber gets the newest image of each sender, and never a growing queue of old ones; both ends prove who
they are, and everything is encrypted. It is UDP, and TCP where that does not get through, and within a
machine: open the port for both where there is a firewall. The reply, or in PUB/SUB the images, come
back to a port of their own, so both machines have to reach each other.

**Who may.** Without a word, the programs of one user on one machine: they share the identity in ``~/.config/framelane/imagezmq``. For
another machine each end is told the other's pin, in the program or, where that is to stay as it is, in the environment::

    python -m framelane.imagezmq                    # on each machine: prints its pin
    ImageHub(allow="sha256:PIN-OF-SENDER")          # or FRAMELANE_ALLOW=sha256:...,sha256:...
    ImageSender("tcp://hub:5555", pin="sha256:PIN-OF-HUB")  # or FRAMELANE_PIN=sha256:...

``allow="any"`` lets everybody send to a hub; do that only where whoever reaches it may.
"""

from __future__ import annotations

import collections
import json
import os
import secrets
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Any, Dict, List, NoReturn, SupportsIndex, Tuple, Type

import numpy as np
import numpy.typing as npt

from . import _codec, _native
from ._native import Body
from ._receiver import Frame, Receiver
from ._sender import Pins, Receipt, Sender
from ._units import no_copy, texts
from .errors import Closed, DecodeError, FramelaneError, PushError, RunEnded

__all__ = ["Again", "ImageHub", "ImageSender", "own_pin"]

_MAGIC = b"\nflmsg1\n"
_AGAIN = 2.0
"""Seconds without a reply after which an image that has arrived is sent again: the hub may have been restarted with it in hand."""
_HEARTBEAT = 0.5
"""Seconds between two subscriptions."""
_FORGOTTEN = 5.0
"""Seconds without a subscription after which a subscriber is forgotten."""
_FOREVER = "3650d"
_LIVE = 1.0
"""How old a published image may be when it arrives, in seconds."""
_PEERS = 64
_ADDRESS = 300
"""Characters of a peer's address: a host's name has 253, and there is a port behind it."""


def own_pin(certs: "str | os.PathLike[str] | None" = None) -> str:
    """This user's pin on this machine, by which peers know it. Certificate and key are made where they are missing."""
    return _native.own_pin(_folder(certs))


def _folder(certs: "str | os.PathLike[str] | None") -> str:
    given = os.fspath(certs) if certs is not None else os.environ.get("FRAMELANE_CERTS")
    if given:
        return given
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    folder = os.path.join(config, "framelane", "imagezmq")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    return folder


def _pins(given: Pins, variable: str, certs: str) -> List[str]:
    """Those given, those in the environment, and our own: whoever has this user's key is this user."""
    listed = texts("allow" if variable == "FRAMELANE_ALLOW" else "pin", given)
    named = [pin.strip() for pin in os.environ.get(variable, "").split(",") if pin.strip()]
    if "any" in listed + named:
        return ["any"]
    return [*dict.fromkeys([*listed, *named, _native.own_pin(certs)])]


def _address(text: str) -> Tuple[str, str]:
    """Host and port of ``tcp://HOST:PORT``, or of ``HOST:PORT``; the host is empty where every address is meant."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        rest = text
    elif scheme not in ("tcp", "udp", "framelane"):
        raise ValueError(f"{text!r}: only tcp:// addresses are known here, as in tcp://127.0.0.1:5555")
    host, colon, port = rest.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port[:6]) <= 65_535):
        raise ValueError(f"{text!r} has no port, as in tcp://127.0.0.1:5555")
    return ("" if host in ("*", "0.0.0.0") else host), port


def _facing(host: str, port: str) -> str:
    """This machine's address towards another, to listen on. Nothing is sent."""
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
    for family, kind, protocol, _, there in found:
        try:
            with socket.socket(family, kind, protocol) as asking:
                asking.connect(there)
                here = asking.getsockname()[0]
        except OSError:
            continue
        return f"[{here}]:0" if family == socket.AF_INET6 else f"{here}:0"
    return "127.0.0.1:0"


def _transport(host: str) -> str:
    """Within a machine nothing is lost, and TCP costs less; elsewhere whatever gets through."""
    host = host.strip("[]")
    return "tcp" if host in ("localhost", "::1") or host.startswith("127.") else "auto"


def _tail(note: Dict[str, Any]) -> bytes:
    """A note, to stand behind an image, where readers of images do not look."""
    text = json.dumps(note, separators=(",", ":")).encode()
    return text + len(text).to_bytes(4, "little") + _MAGIC


def _with_note(image: "Body | npt.NDArray[Any]", note: Dict[str, Any]) -> Body:
    """A frame with a note behind it; an array becomes an NPY file."""
    if isinstance(image, Body):
        return _native.joined(b"", np.asarray(image), _tail(note))
    return _codec.raw(image, _tail(note))


def _note_of(body: Body) -> Tuple[Body, Dict[str, Any]]:
    """The frame and the note behind it; what came from elsewhere has none."""
    length = len(body)
    end = body.part(max(0, length - 12), length).tobytes()
    if len(end) < 12 or end[4:] != _MAGIC:
        return body, {}
    begin = length - 12 - int.from_bytes(end[:4], "little")
    if begin < 0:
        return body, {}
    try:
        note = json.loads(body.part(begin, length - 12).tobytes())
    except (ValueError, RecursionError):  # a peer's
        return body, {}
    return body.part(0, begin), note if isinstance(note, dict) else {}


class _Own(Sender):
    """A sender that programs do not see, and so cannot finish: it says nothing where they end without having closed it."""

    _warns = False


class Again(FramelaneError, TimeoutError):
    """A limit that was set with ``zmq_socket.setsockopt`` is over. Where pyzmq has been imported it is ``zmq.Again`` instead,
    for programs that catch that."""


_RCVTIMEO, _SNDTIMEO, _LINGER = 27, 28, 17
"""What pyzmq has by these names."""


class _Socket:
    """What programs set at the socket of imagezmq's objects: limits to waiting, in milliseconds.

    ``RCVTIMEO`` is for a reply and for an image, ``SNDTIMEO`` for handing an image over; -1 waits for ever, as it is without
    a word. ``LINGER`` is taken and changes nothing: no end here waits for long. What else a socket has is not here.
    """

    def __init__(self, of: "_Closing") -> None:
        self._of = of
        self._options = {_RCVTIMEO: -1, _SNDTIMEO: -1, _LINGER: -1}

    def setsockopt(self, option: int, value: int) -> None:
        """Sets an option, as ``zmq.RCVTIMEO``."""
        known = ", ".join(name for name in _Socket._names)
        if option not in self._options:
            raise FramelaneError(f"there is no socket of ZeroMQ here: of its options {known} are known, and not {option!r}")
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < -1:
            raise ValueError(f"{value!r} is no number of milliseconds, nor -1 for no limit")
        self._options[int(option)] = int(value)

    def getsockopt(self, option: int) -> int:
        """What it was set to."""
        if option not in self._options:
            raise FramelaneError(f"there is no socket of ZeroMQ here, and no option {option!r}")
        return self._options[int(option)]

    set, get = setsockopt, getsockopt

    _names = {"RCVTIMEO": _RCVTIMEO, "SNDTIMEO": _SNDTIMEO, "LINGER": _LINGER}

    def __getattr__(self, name: str) -> int:
        if name.upper() in _Socket._names:
            return self.getsockopt(_Socket._names[name.upper()])
        raise AttributeError(f"there is no socket of ZeroMQ here: {', '.join(_Socket._names)} can be set, and it can be closed; not {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.upper() in _Socket._names:
            self.setsockopt(_Socket._names[name.upper()], value)
        else:
            object.__setattr__(self, name, value)

    def close(self, linger: int | None = None) -> None:
        """Closes what it belongs to."""
        self._of.close()

    def _seconds(self, option: int) -> float | None:
        limit = self._options[option]
        return None if limit < 0 else limit / 1_000


class _Limit:
    """How long something may wait: as the call says, else as the socket does. Raises what the one who said it expects."""

    def __init__(self, timeout: float | None, socket: _Socket, option: int) -> None:
        self._of_socket = timeout is None
        self.seconds = socket._seconds(option) if timeout is None else timeout

    def over(self, error: TimeoutError) -> Exception:
        """The exception that says so."""
        if not self._of_socket:
            return error
        zmq = sys.modules.get("zmq")
        return Again(str(error)) if zmq is None else zmq.Again()


class _Closing:
    """``with`` and ``close``."""

    zmq_socket: _Socket
    """Stands in for imagezmq's socket, where programs set limits: ``zmq_socket.setsockopt(zmq.RCVTIMEO, 2000)``."""

    def close(self) -> None:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(no_copy(self))

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: Type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ImageSender(_Closing):
    """Sends images to a hub, as imagezmq's.

    :param connect_to: the hub's ``tcp://HOST:PORT`` (REQ/REP), or where to listen for subscribers, ``tcp://*:PORT`` (PUB/SUB).
    :param REQ_REP: True waits for the hub's reply to each image, False publishes.
    :param pin: the hub's pin (REQ/REP); the subscribers' pins (PUB/SUB).
    :param encode: how images travel: ``"raw"`` as imagezmq has it, ``"png"``, or ``"jpeg:90"`` with loss.
    :param certs: the folder of this end's identity.
    """

    def __init__(
        self,
        connect_to: str = "tcp://127.0.0.1:5555",
        REQ_REP: bool = True,
        *,
        pin: Pins = None,
        encode: str = "raw",
        certs: "str | os.PathLike[str] | None" = None,
    ) -> None:
        _codec.parse_encode(encode)
        self._encode, self._pin, self._folder = encode, pin, _folder(certs)
        self._ways: _Asking | _Publishing | None = None
        self.zmq_socket = _Socket(self)
        if REQ_REP:
            self.init_reqrep(connect_to)
        else:
            self.init_pubsub(connect_to)

    def init_reqrep(self, address: str) -> None:
        """Connects to a hub (REQ/REP), instead of what it was connected to."""
        host, port = _address(address)
        pins = _pins(self._pin, "FRAMELANE_PIN", self._folder)
        self.close()
        self._ways = _Asking(host or "127.0.0.1", port, pins, self._folder)

    def init_pubsub(self, address: str) -> None:
        """Listens for subscribers (PUB/SUB), instead of what it did."""
        host, port = _address(address)
        pins = _pins(self._pin, "FRAMELANE_ALLOW", self._folder)
        self.close()
        self._ways = _Publishing(host, port, pins, self._folder)

    def _way(self) -> "_Asking | _Publishing":
        if self._ways is None:
            raise Closed("this was closed")
        return self._ways

    @property
    def port(self) -> int:
        """The port: the hub's, or the one that it listens on."""
        return self._way().port

    def send_image(self, msg: Any, image: "npt.NDArray[Any]", timeout: float | None = None) -> bytes | None:
        """Sends an image of any shape and type, with a text of any length.

        :param timeout: seconds to wait for the reply, then :class:`TimeoutError`; imagezmq waits for ever.
        :returns: the hub's reply (REQ/REP), or ``None`` (PUB/SUB).
        """
        array = np.asarray(image)
        if self._encode == "raw":
            return self._send(msg, array, "npy", timeout)
        body, extension = _codec.encoded(array, self._encode, "bgr")
        return self._send(msg, body, extension, timeout)

    def send_jpg(self, msg: Any, jpg_buffer: Any, timeout: float | None = None) -> bytes | None:
        """Sends the bytes of a JPEG image, as ``cv2.imencode`` gives them."""
        return self._send(msg, Body(bytes(jpg_buffer)), "jpg", timeout)

    def _send(self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None) -> bytes | None:
        limit = _Limit(timeout, self.zmq_socket, _RCVTIMEO)
        handing_over = self.zmq_socket._seconds(_SNDTIMEO) if timeout is None else timeout
        try:
            return self._way().send(msg, image, extension, limit.seconds, handing_over)
        except TimeoutError as error:
            raise limit.over(error) from error

    def _only(self, kind: type, does: str) -> None:
        if not isinstance(self._way(), kind):
            raise FramelaneError(f"this sender does not {does}: it was made with REQ_REP={isinstance(self._ways, _Asking)}")

    def send_image_reqrep(self, msg: Any, image: "npt.NDArray[Any]", timeout: float | None = None) -> bytes | None:
        """:meth:`send_image` of a sender with ``REQ_REP=True``."""
        self._only(_Asking, "wait for replies")
        return self.send_image(msg, image, timeout)

    def send_image_pubsub(self, msg: Any, image: "npt.NDArray[Any]") -> None:
        """:meth:`send_image` of a sender with ``REQ_REP=False``."""
        self._only(_Publishing, "publish")
        self.send_image(msg, image)

    def send_jpg_reqrep(self, msg: Any, jpg_buffer: Any, timeout: float | None = None) -> bytes | None:
        """:meth:`send_jpg` of a sender with ``REQ_REP=True``."""
        self._only(_Asking, "wait for replies")
        return self.send_jpg(msg, jpg_buffer, timeout)

    def send_jpg_pubsub(self, msg: Any, jpg_buffer: Any) -> None:
        """:meth:`send_jpg` of a sender with ``REQ_REP=False``."""
        self._only(_Publishing, "publish")
        self.send_jpg(msg, jpg_buffer)

    def close(self) -> None:
        """Ends the connection. Images that have no reply yet are given up."""
        ways, self._ways = self._ways, None
        if ways is not None:
            ways.close()


class _Asking:
    """REQ: an image, and the reply to it."""

    def __init__(self, host: str, port: str, pins: List[str], certs: str) -> None:
        self.port = int(port)
        self._life = secrets.token_hex(8)
        self._count = 0
        at = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
        self._source = f"images-{self._life}"
        self._sender = _Own(
            at, pin=pins, sources=[self._source], retry_for=_FOREVER, certs=certs, transport=_transport(host), drain=0
        )
        self._replies = Receiver(_facing(host.strip("[]"), port), allow=pins, certs=certs)

    def send(
        self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None, handing_over: float | None
    ) -> bytes:
        self._count += 1
        note = {"msg": msg, "life": self._life, "count": self._count, "reply": self._replies.address}
        framed = _with_note(image, note)
        end = None if timeout is None else time.monotonic() + timeout
        receipt = self._push(framed, extension, handing_over)
        while True:
            left = _AGAIN if end is None else min(_AGAIN, max(0.0, end - time.monotonic()))
            try:
                frame = self._replies.next(left)
            except TimeoutError:
                if end is not None and time.monotonic() >= end:
                    raise TimeoutError("the hub has not replied within the timeout") from None
                if receipt.stored is False:
                    raise self._why() from None
                if receipt.stored:
                    receipt = self._push(framed, extension, handing_over)
                continue
            reply, about = _note_of(frame._body)
            if about.get("count") == self._count and about.get("life") == self._life:
                return reply.tobytes()

    def _push(self, body: Body, extension: str, limit: float | None) -> Receipt:
        try:
            pushed = self._sender._native.push((self._source, body, extension, None, None), limit)
        except RunEnded:
            raise self._why() from None
        return Receipt(pushed)

    def _why(self) -> FramelaneError:
        """Why nothing can be sent any more."""
        return FramelaneError(self._sender.finish().words())

    def close(self) -> None:
        self._sender.close()
        self._replies.close()


class _Publishing:
    """PUB: images to whoever has subscribed."""

    def __init__(self, host: str, port: str, pins: List[str], certs: str) -> None:
        self._certs = certs
        self._life = secrets.token_hex(8)
        self._source = f"images-{self._life}"
        self._peers = _Peers(certs, self._source, deadline=_LIVE)
        self._subscriptions = Receiver(f"{host}:{port}", allow=pins, latest=True, certs=certs)
        self.port = self._subscriptions.port
        self._heard: Dict[Tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, name="framelane-subscriptions", daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        for frame in self._subscriptions:
            _, note = _note_of(frame._body)
            address = note.get("reply")
            if isinstance(address, str) and address.isascii() and len(address) <= _ADDRESS and frame.sender:
                self._note((frame.sender, address))

    def _note(self, peer: Tuple[str, str]) -> None:
        """Takes a subscription; of more than there are places for, those that were heard of last."""
        with self._lock:
            self._heard.pop(peer, None)
            self._heard[peer] = time.monotonic()
            while len(self._heard) > _PEERS:
                del self._heard[next(iter(self._heard))]

    def send(
        self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None, handing_over: float | None
    ) -> None:
        now = time.monotonic()
        with self._lock:
            for peer, heard in list(self._heard.items()):
                if now - heard > _FORGOTTEN:
                    del self._heard[peer]
                    self._peers.forget(*peer)
            subscribers = list(self._heard)
        if not subscribers:
            return
        framed = _with_note(image, {"msg": msg})
        for pin, address in subscribers:
            # One that is slower than its images come gets the next one.
            self._peers.push(pin, address, framed, extension)

    def close(self) -> None:
        self._subscriptions.close()
        self._listening.join()
        self._peers.close()


class _Peers:
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
            sender = _Own(
                address,
                pin=pin,
                sources=[self._source],
                deadline=self._deadline,
                retry_for=10.0,
                certs=self._certs,
                transport=_transport(address.rpartition(":")[0]),
                drain=_LIVE,
            )
            self._senders[key] = sender
            while len(self._senders) > _PEERS:
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
        until = time.monotonic() + _LIVE
        for sender in senders:
            sender._native.finish(0.0)
        for sender in senders:
            try:
                sender.finish(max(0.0, until - time.monotonic()))
            except TimeoutError:
                sender.stop()


class ImageHub(_Closing):
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
        self.zmq_socket = _Socket(self)
        folder = self._certs = _folder(certs)
        host, port = _address(open_port)
        self._current: Dict[str, Any] | None = None
        """The note of the image that is to be replied to."""
        self._from: str | None = None
        self._seen: "collections.OrderedDict[str, Tuple[int, bytes | None]]" = collections.OrderedDict()
        self._subscribed: List[Sender] = []
        self._ended = threading.Event()
        if REQ_REP:
            self._receiver = Receiver(f"{host}:{port}", allow=_pins(allow, "FRAMELANE_ALLOW", folder), certs=folder)
            self._peers = _Peers(folder, f"replies-{secrets.token_hex(8)}")
        else:
            self._publishers = _pins(allow, "FRAMELANE_PIN", folder)
            self._receiver = Receiver(
                _facing(host or "127.0.0.1", port), allow=self._publishers, latest=True, certs=folder
            )
            self._subscribing = threading.Thread(target=self._subscribe, name="framelane-subscribe", daemon=True)
            self.connect(open_port)
            self._subscribing.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._receiver.port

    def connect(self, open_port: str) -> None:
        """Subscribes to another publisher (PUB/SUB)."""
        if self.REQ_REP:
            return
        host, port = _address(open_port)
        self._subscribed.append(
            _Own(
                f"{host or '127.0.0.1'}:{port}",
                pin=self._publishers,
                sources=[f"subscribe-{secrets.token_hex(8)}"],
                deadline=2 * _HEARTBEAT,
                retry_for=_FOREVER,
                certs=self._certs,
                drain=0,
            )
        )

    def _subscribe(self) -> None:
        """Says again and again where we are, so that a publisher that was restarted knows as well."""
        said = _with_note(Body(b""), {"reply": self._receiver.address})
        while not self._ended.wait(_HEARTBEAT if any(sender.connected for sender in self._subscribed) else 0.05):
            for sender in list(self._subscribed):
                if sender.pending:
                    continue
                try:
                    source = sender._names[0]
                    sender._native.push((source, said, "bin", None, None), 0.0)
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
        limit = _Limit(timeout, self.zmq_socket, _RCVTIMEO)
        end = None if limit.seconds is None else time.monotonic() + limit.seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                frame = self._receiver.next(left)
            except TimeoutError as error:
                raise limit.over(error) from error
            body, note = _note_of(frame._body)
            if self._is_new(frame, note):
                self._current, self._from = note, frame.sender
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
            while len(self._seen) > 4 * _PEERS:
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
        if pin is None or not isinstance(address, str) or not address.isascii() or len(address) > _ADDRESS:
            return
        body = _with_note(Body(reply), {"life": note.get("life"), "count": note.get("count")})
        self._peers.push(pin, address, body, "bin")

    def close(self) -> None:
        """Ends the connection. Replies that are under way still go out."""
        self._ended.set()
        if self.REQ_REP:
            self._peers.close()
        else:
            self._subscribing.join()
            for sender in self._subscribed:
                sender.close()
        self._receiver.close()


if __name__ == "__main__":
    print(own_pin())

"""The sending end, with imagezmq's methods."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _codec
from .._native import Body
from .._sender import Pins
from ..errors import Closed, FramelaneError
from ._keys import key_folder, parse_address, trusted_pins
from ._patterns import Asking, Publishing
from ._socket import RCVTIMEO, SNDTIMEO, Closing, Context, Limit, Socket


class ImageSender(Closing):
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
        self._encode, self._pin, self._folder = encode, pin, key_folder(certs)
        self._ways: Asking | Publishing | None = None
        self.zmq_socket = Socket(self)
        self.zmq_context = Context(self)
        if REQ_REP:
            self.init_reqrep(connect_to)
        else:
            self.init_pubsub(connect_to)

    def init_reqrep(self, address: str) -> None:
        """Connects to a hub (REQ/REP), instead of what it was connected to."""
        host, port = parse_address(address)
        pins = trusted_pins(self._pin, "FRAMELANE_PIN", self._folder)
        self.close()
        self._ways = Asking(host or "127.0.0.1", port, pins, self._folder)

    def init_pubsub(self, address: str) -> None:
        """Listens for subscribers (PUB/SUB), instead of what it did."""
        host, port = parse_address(address)
        pins = trusted_pins(self._pin, "FRAMELANE_ALLOW", self._folder)
        self.close()
        self._ways = Publishing(host, port, pins, self._folder)

    def _way(self) -> "Asking | Publishing":
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
        if self._encode == "raw":
            return self._send(msg, np.asarray(image), "npy", timeout)
        body, extension = _codec.encoded(image, self._encode, "bgr")
        return self._send(msg, body, extension, timeout)

    def send_jpg(self, msg: Any, jpg_buffer: Any, timeout: float | None = None) -> bytes | None:
        """Sends the bytes of a JPEG image, as ``cv2.imencode`` gives them."""
        return self._send(msg, Body(bytes(jpg_buffer)), "jpg", timeout)

    def _send(self, msg: Any, image: "Body | npt.NDArray[Any]", extension: str, timeout: float | None) -> bytes | None:
        limit = Limit(timeout, self.zmq_socket, RCVTIMEO)
        handing_over = self.zmq_socket.seconds_of(SNDTIMEO) if timeout is None else timeout
        try:
            return self._way().send(msg, image, extension, limit.seconds, handing_over)
        except TimeoutError as error:
            raise limit.over(error) from error

    def _only(self, kind: type, does: str) -> None:
        if not isinstance(self._way(), kind):
            raise FramelaneError(f"this sender does not {does}: it was made with REQ_REP={isinstance(self._ways, Asking)}")

    def send_image_reqrep(self, msg: Any, image: "npt.NDArray[Any]", timeout: float | None = None) -> bytes | None:
        """:meth:`send_image` of a sender with ``REQ_REP=True``."""
        self._only(Asking, "wait for replies")
        return self.send_image(msg, image, timeout)

    def send_image_pubsub(self, msg: Any, image: "npt.NDArray[Any]") -> None:
        """:meth:`send_image` of a sender with ``REQ_REP=False``."""
        self._only(Publishing, "publish")
        self.send_image(msg, image)

    def send_jpg_reqrep(self, msg: Any, jpg_buffer: Any, timeout: float | None = None) -> bytes | None:
        """:meth:`send_jpg` of a sender with ``REQ_REP=True``."""
        self._only(Asking, "wait for replies")
        return self.send_jpg(msg, jpg_buffer, timeout)

    def send_jpg_pubsub(self, msg: Any, jpg_buffer: Any) -> None:
        """:meth:`send_jpg` of a sender with ``REQ_REP=False``."""
        self._only(Publishing, "publish")
        self.send_jpg(msg, jpg_buffer)

    def close(self) -> None:
        """Ends the connection. Images that have no reply yet are given up."""
        ways, self._ways = self._ways, None
        if ways is not None:
            ways.close()

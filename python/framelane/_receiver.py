"""Receiving frames into a program."""

from __future__ import annotations

import asyncio
import datetime
import os
from types import TracebackType
from typing import Any, AsyncIterator, Dict, Iterable, Iterator, NoReturn, Sequence, SupportsIndex, Tuple, Type, Union

import numpy.typing as npt

from . import _codec, _native, _units
from ._report import ReceiveReport
from ._sender import Pins
from ._units import Size, Span
from .errors import Closed, ForkedError


class Frame:
    """A frame that has arrived whole, and is what its sender announced."""

    __slots__ = ("_body", "_bytes", "_native")

    def __init__(self, native: "_native.Received") -> None:
        self._native = native
        self._body = native.body
        self._bytes: bytes | None = None

    @property
    def source(self) -> str:
        """The name of its source."""
        return self._native.source

    @property
    def sequence(self) -> int:
        """Its place in the source. Where one is passed over, a frame was dropped, is late, or was skipped."""
        return self._native.sequence

    @property
    def name(self) -> str:
        """Its file's name; never one that leads out of a folder."""
        return self._native.name

    @property
    def captured(self) -> datetime.datetime | None:
        """When it was captured, by the sender's clock, in UTC; ``None`` where nobody knows. To the microsecond."""
        return _units.moment(self._native.captured_ns)

    @property
    def captured_ns(self) -> int | None:
        """The same in nanoseconds since 1970."""
        return self._native.captured_ns

    @property
    def clock(self) -> str | None:
        """Where that time was taken from: ``program``, ``read``, ``exif``, ... (docs/store.md)."""
        return self._native.clock

    @property
    def received(self) -> datetime.datetime:
        """When its last byte had arrived, by this machine's clock, in UTC."""
        moment = _units.moment(self._native.received_ns)
        assert moment is not None
        return moment

    @property
    def received_ns(self) -> int:
        """The same in nanoseconds since 1970."""
        return self._native.received_ns

    @property
    def sender(self) -> str | None:
        """The pin of its sender; ``None`` over stop-and-wait, which authenticates nobody."""
        return self._native.sender

    @property
    def sender_name(self) -> str | None:
        """What ``allow=["NAME=PIN"]`` calls the sender."""
        return self._native.sender_name

    @property
    def media(self) -> str:
        """What the bytes are, as the sender says: ``image/png``, ``image/jpeg``, ``application/x-npy``, ..."""
        return self._native.media

    @property
    def bytes(self) -> bytes:
        """The image as a file of its kind holds it. A copy, made once; :attr:`buffer` is none."""
        if self._bytes is None:
            self._bytes = self._body.tobytes()
        return self._bytes

    @property
    def buffer(self) -> memoryview:
        """The same, read-only and not copied."""
        return memoryview(self._as_numpy())  # type: ignore[arg-type]

    def _as_numpy(self) -> "npt.NDArray[Any]":
        import numpy as np

        return np.asarray(self._body)

    def array(self, *, color: str = "bgr") -> "npt.NDArray[Any]":
        """The image as an array: (H, W) or (H, W, C), uint8 or uint16; what was sent raw has the shape and type that it had.

        PNG, JPEG and raw frames are decoded here; TIFF, BMP, WebP, GIF, JPEG 2000, PNM, PAM, PFM, HDR and AVIF by OpenCV or
        Pillow where one is installed. Others are for the program, which has :attr:`bytes`. That of a raw frame is a
        read-only view, not a copy. Other threads run meanwhile.

        :param color: the order of colours, ``"bgr"`` as OpenCV or ``"rgb"``; alpha is last in both. Raw frames are as they
            were sent.
        :raises DecodeError: it is no image that can be decoded, or its array would have more than 512 MiB, as its header says:
            nothing is allocated then. Whatever the sender sends, no other exception is raised.
        """
        return _codec.decoded(self._body, color)

    def __len__(self) -> int:
        return len(self._body)

    def __repr__(self) -> str:
        return f"<Frame {self.source}/{self.name}: sequence {self.sequence}, {len(self)} bytes>"


class _Receiving:
    """What both kinds of receivers have."""

    def __init__(
        self,
        listen: str = "127.0.0.1:4433",
        *,
        allow: Pins = None,
        out: "str | os.PathLike[str] | None" = None,
        layout: str = "flat",
        latest: Union[bool, str, Sequence[str]] = False,
        once: bool = False,
        durable: bool = False,
        queue: Size = "32MiB",
        max_frame: Size | None = None,
        memory: Size | None = None,
        stall: Span | None = None,
        transport: Union[str, Iterable[str]] = (),
        shared: bool = False,
        allow_overwrite: bool = False,
        certs: "str | os.PathLike[str]" = "certs",
    ) -> None:
        self._native = _native.Receiver(
            {
                "listen": _units.text("listen", listen),
                "allow": _units.texts("allow", allow),
                "certs": _units.path(certs),
                "out": None if out is None else _units.path(out),
                "layout": _units.text("layout", layout),
                "durable": _units.flag("durable", durable),
                "transports": _units.texts("transport", transport),
                "latest": [] if isinstance(latest, bool) else _units.texts("latest", latest),
                "all_latest": latest is True,
                "once": _units.flag("once", once),
                "queue": _units.size(queue),
                "max_frame": None if max_frame is None else _units.size(max_frame),
                "memory": None if memory is None else _units.size(memory),
                "stall": None if stall is None else _units.seconds(stall),
                "allow_overwrite": _units.flag("allow_overwrite", allow_overwrite),
                "shared": _units.flag("shared", shared),
            }
        )
        self._report: ReceiveReport | None = None

    @property
    def pin(self) -> str:
        """This machine's pin, ``sha256:`` and 64 hex digits, by which senders trust it."""
        return self._native.pin

    @property
    def address(self) -> str:
        """Where it listens, ``ADDR:PORT``, with the port that the system has picked where it was told 0."""
        return self._native.addresses[0][1]

    @property
    def addresses(self) -> Dict[str, str]:
        """The same for each transport."""
        return dict(self._native.addresses)

    @property
    def port(self) -> int:
        """The port of :attr:`address`."""
        return int(self.address.rsplit(":", 1)[1])

    @property
    def report(self) -> ReceiveReport | None:
        """What was received, once it is closed."""
        return self._report

    def _try(self) -> Tuple[Frame | None, bool]:
        frame, more = self._native.try_next()
        return (None if frame is None else Frame(frame)), more

    def _ended(self, text: str) -> ReceiveReport:
        self._report = ReceiveReport.read(text)
        return self._report

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(_units.no_copy(self))


class Receiver(_Receiving):
    """Receives frames from senders, and hands them to the program.

    ::

        for frame in framelane.Receiver("0.0.0.0:4433", allow=["sha256:..."], out="received"):
            print(frame.source, frame.sequence, frame.captured, frame.array().shape)

    It listens from its making on. With ``out`` each frame is stored first, one folder a source, and confirmed then;
    without, it is confirmed when the program has taken it, and one that was not taken is sent again. Frames come as they
    arrive, sources in turn: on a lossy link a later one may overtake, :attr:`Frame.sequence` has the order.

    A program that is slower than its sources slows their senders down (:meth:`every`), or gets the newest frame only
    (:meth:`latest`). May be used by several threads. Waits let other threads run, and end when a signal's handler raises.

    :param listen: ``ADDR:PORT``, ``:PORT`` for every address; port 0 picks a free one.
    :param allow: pins of the senders that may send, ``"NAME=PIN"`` to name one, or ``"any"``. Without it only this machine
        can be listened on: whoever reaches it may send.
    :param out: the folder to store into; ``{sender}`` and ``{date}`` in it stand for the sender and the day.
    :param layout: ``"flat"``, or ``"day"`` or ``"hour"`` for a folder for each in each source.
    :param latest: True, or the names of sources, as :meth:`latest` from the beginning.
    :param once: ends when a sender has sent all that it has.
    :param durable: confirms a frame when it is synced to the disk.
    :param queue: memory for frames that wait for the program.
    :param max_frame: the longest frame, 64 MiB if nothing is said.
    :param memory: memory for frames that are arriving.
    :param stall: after how long a session that makes no progress is ended.
    :param transport: one or several of ``"quic"``, ``"tcp"``, ``"tcp-per-frame"``, ``"stop-and-wait"``; what the command line serves, if nothing is said.
    :param shared: lets every sender write to every source.
    :param allow_overwrite: lets senders replace frames.
    :param certs: the folder of this machine's certificate and key, which are made where they are missing.
    :raises ListenError: something of these cannot be, or the address cannot be had.
    """

    def next(self, timeout: float | None = None) -> Frame:
        """Takes the next frame, waiting for it.

        :param timeout: seconds, then :class:`TimeoutError`.
        :raises Closed: none will come any more.
        """
        frame = self._native.next(timeout)
        if frame is None:
            raise Closed("no frame will come any more: the receiver has ended, or was closed")
        return Frame(frame)

    def every(self, source: str | None = None) -> "Receiver":
        """From now on each frame of this source, or of all; so it is if nothing is said."""
        self._native.want(source, False)
        return self

    def latest(self, source: str | None = None) -> "Receiver":
        """From now on the newest frame of this source, or of all: what the program takes is never older than one frame,
        and those that it is too slow for are skipped (with ``out`` they are stored all the same; without, their receipts
        say "stored" as well, of frames that have arrived whole and that nobody took).

        Returns itself: ``for frame in receiver.latest("visible"): ...``
        """
        self._native.want(source, True)
        return self

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = self._native.next(None)
        if frame is None:
            self.close()
            raise StopIteration
        return Frame(frame)

    def close(self) -> ReceiveReport:
        """Takes nothing new; what has arrived is stored where there is ``out``, and confirmed. Says what was received.
        Whoever waits for a frame waits no longer.

        :raises ReceiveError: it had ended by itself before.
        """
        return self._ended(self._native.close())

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(
        self,
        kind: Type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except ForkedError:
            # In a child the block ends as whatever ended it says; the receiver is the parent's.
            if kind is None:
                raise


class AsyncReceiver(_Receiving):
    """:class:`Receiver` for asyncio: ``async with``, ``async for frame in receiver``, ``await receiver.next()``."""

    async def next(self) -> Frame:
        """Takes the next frame. Cancelled, it has taken none: ``asyncio.timeout`` bounds it.

        :raises Closed: none will come any more.
        """
        while True:
            frame, more = self._try()
            if frame is not None:
                return frame
            if not more:
                raise Closed("no frame will come any more: the receiver has ended, or was closed")
            try:
                await self._native.ready_soon()
            except asyncio.CancelledError:
                # Where it had been told of a frame by then, that is another's now.
                self._native.pass_on()
                raise

    def every(self, source: str | None = None) -> "AsyncReceiver":
        """As :meth:`Receiver.every`."""
        self._native.want(source, False)
        return self

    def latest(self, source: str | None = None) -> "AsyncReceiver":
        """As :meth:`Receiver.latest`."""
        self._native.want(source, True)
        return self

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        try:
            return await self.next()
        except Closed:
            await self.close()
            raise StopAsyncIteration from None

    async def close(self) -> ReceiveReport:
        """As :meth:`Receiver.close`."""
        return self._ended(await self._native.close_soon())

    async def __aenter__(self) -> "AsyncReceiver":
        return self

    async def __aexit__(
        self,
        kind: Type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except ForkedError:
            if kind is None:
                raise

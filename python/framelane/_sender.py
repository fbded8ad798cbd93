"""Sending what a program makes."""

from __future__ import annotations

import asyncio
import os
import time
from types import TracebackType
from typing import Any, Dict, Generator, Iterable, Mapping, NoReturn, Sequence, SupportsIndex, Tuple, Type, Union

from . import _codec, _leaving, _native, _units
from ._codec import Image
from ._native import Body
from ._report import SendReport, SpoolFigures
from ._units import Moment, Size, Span
from .errors import ForkedError, PushError

Pins = Union[str, Iterable[str], None]
PerSource = Union[Span, Mapping[str, Span], None]


class Receipt:
    """What becomes of one frame. Whoever does not want to know drops it."""

    __slots__ = ("_native",)

    def __init__(self, native: "_native.Receipt") -> None:
        self._native = native

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the receiver has stored the frame (without ``out`` there: until its program has taken it, or a newer one where
        it wants the latest only).

        :param timeout: seconds; ``None`` waits for as long as the sender goes on trying.
        :raises TimeoutError: no receipt has come in time. The frame is still on its way.
        :raises FrameLost: it was given up: too late for its deadline, or refused.
        :raises RunEnded: the sender has ended before.
        """
        self._native.wait(timeout)

    @property
    def stored(self) -> bool | None:
        """True where the frame is stored, False where it will not be, ``None`` where that is not known yet. Does not wait."""
        return self._native.stored

    def __await__(self) -> Generator[Any, None, None]:
        """The same as :meth:`wait`, in asyncio."""
        return self._native.promise().__await__()

    def __repr__(self) -> str:
        words = {True: "stored", False: "not stored", None: "under way"}
        try:
            return f"<Receipt: {words[self.stored]}>"
        except ForkedError:
            return "<Receipt: of a frame sent before the process was forked>"


class _Sending:
    """What both kinds of senders have."""

    _native: "_native.Sender"
    _stopped = False
    _report: SendReport | None = None
    _warns = True
    """False for those that the package makes for itself: nobody could finish them."""

    def __init__(
        self,
        receiver: str,
        *,
        pin: Pins = None,
        sources: Union[str, Sequence[str]] = (),
        folders: Mapping[str, "str | os.PathLike[str]"] | None = None,
        encode: str = "png",
        color: str = "bgr",
        deadline: PerSource = None,
        weight: Mapping[str, int] | None = None,
        memory: Size = "64MiB",
        spool: "str | os.PathLike[str] | None" = None,
        spool_size: Size | None = None,
        spool_memory: Size | None = None,
        when_full: str | None = None,
        drain: Span = 10.0,
        retry_for: Span = 30.0,
        transport: str = "auto",
        via: Union[str, Sequence[str]] = (),
        repair: str = "auto",
        authority: "str | os.PathLike[str] | None" = None,
        certs: "str | os.PathLike[str]" = "certs",
    ) -> None:
        names = _units.texts("sources", sources)
        _codec.parse_encode(encode)
        _codec.is_bgr(color)
        self._encode, self._color = encode, color
        self._receiver = _units.text("receiver", receiver)
        self._keeps = spool is not None
        self._names = names
        self._drain_for = _units.seconds(drain)
        places = {name: _units.path(path) for name, path in _units.by_name("folders", folders)}
        if deadline is None:
            deadlines: Dict[str, Span] = {}
        elif isinstance(deadline, Mapping):
            deadlines = dict(_units.by_name("deadline", deadline))
        else:
            deadlines = {name: deadline for name in [*names, *places]}
        if not names and not (spool is None and spool_memory is None and when_full is None):
            raise ValueError("spool and what belongs to it are for sources whose frames are sent by this program, and there are none")
        weights = _units.by_name("weight", weight)
        for name, share in weights:
            if isinstance(share, bool) or not hasattr(share, "__index__") or not 1 <= share <= 100:
                raise ValueError(f"weight={{{name!r}: {share!r}}}: a weight is a whole number from 1 to 100")
        if spool is None and spool_size is not None:
            raise ValueError("spool_size is of what is on disk: name the folder with spool=")
        self._native = _native.Sender(
            {
                "receiver": receiver,
                "pins": _units.texts("pin", pin),
                "authority": None if authority is None else _units.path(authority),
                "certs": _units.path(certs),
                "sources": names,
                "folders": list(places.items()),
                "weights": weights,
                "deadlines": [(name, _units.seconds(age)) for name, age in deadlines.items()],
                "transport": _units.text("transport", transport),
                "repair": _units.text("repair", repair),
                "memory": _units.size(memory),
                "retry_for": _units.seconds(retry_for),
                "via": _units.texts("via", via),
                "spool": None if spool is None else _units.path(spool),
                "spool_size": None if spool_size is None else _units.size(spool_size),
                "spool_memory": None if spool_memory is None else _units.size(spool_memory),
                "when_full": None if when_full is None else _units.text("when_full", when_full),
            }
        )
        _leaving.opened(self)

    @property
    def pin(self) -> str:
        """This machine's pin, ``sha256:`` and 64 hex digits, by which receivers allow it."""
        return self._native.pin

    @property
    def connected(self) -> bool:
        """True while there is a session with the receiver."""
        return self._native.connected

    @property
    def trouble(self) -> str | None:
        """What went wrong since this was last asked, and is tried again; in words, with advice."""
        return self._native.trouble()

    @property
    def pending(self) -> int | None:
        """Frames that were sent and of which it is not known yet what becomes of them; ``None`` once it was told to finish."""
        return self._native.pending

    @property
    def spool(self) -> SpoolFigures | None:
        """What is in the spool at present; ``None`` without one."""
        figures = self._native.spool
        return None if figures is None else SpoolFigures(*figures)

    @property
    def report(self) -> SendReport | None:
        """What became of everything, once it has finished."""
        return self._report

    def stop(self) -> None:
        """Ends at once: what is not confirmed by now stays in the spool, or is missing in the report. Does not wait."""
        self._stopped = True
        self._native.stop()

    def _check(self, source: str, name: str | None) -> None:
        """Before anything is encoded."""
        for what, given in (("source", source), ("name", "" if name is None else name)):
            if not isinstance(given, str):
                raise TypeError(f"a {what} is a str, not {type(given).__name__}")
        if source not in self._names:
            known = f"there are {', '.join(self._names)}" if self._names else "there are none"
            raise PushError(f"there is no source {source!r}; {known} (sources=)")

    def _encoded(self, image: Image, encode: str | None, color: str | None) -> Tuple[Body, str]:
        return _codec.encoded(image, self._encode if encode is None else encode, self._color if color is None else color)

    def _ended(self, text: str) -> SendReport:
        self._report = SendReport.read(text)
        return self._report

    def _closed(self, text: str | None) -> SendReport:
        if text is None:
            raise TimeoutError("the sender was stopped, and is not at its end: the disk of its spool, or the machine, does not answer")
        return self._ended(text)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(_units.no_copy(self))

    def __del__(self) -> None:
        _leaving.forgotten(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._receiver}: {', '.join(self._names) or 'folders'}>"


class Sender(_Sending):
    """Sends frames to a receiver: each leaves at once, and lost connections are made again.

    ::

        with framelane.Sender("host:4433", pin="sha256:...", sources=["visible", "infrared"]) as sender:
            receipt = sender.send("visible", image)
            receipt.wait(timeout=1.0)  # optional

    The end of the ``with`` block waits until every frame is stored, and raises :class:`~framelane.Incomplete` where one
    is not. Where the block ends by an exception, Ctrl-C included, frames go on being sent for up to ``drain``, unless there is no
    connection for two seconds; another Ctrl-C ends that as well. What is left then stays in the spool; without one it is
    not stored, which is said in the log ``framelane``, and in :attr:`report`.

    One that is neither finished nor stopped loses nothing without a word either, as an unclosed file: it gives a
    :class:`ResourceWarning`, and sends what it has for up to ``drain``, beside the program where that has let it go, and
    before the end of the interpreter, which waits for it as above. Frames that are not stored by then are counted in the log.
    With a spool they stay there.

    May be used by several threads. Waits let other threads run, and end at once when a signal's handler raises.

    :param receiver: ``HOST:PORT``.
    :param pin: the receiver's pin, or several. Without one, receivers in ``~/.config/framelane/known_receivers`` are
        trusted; one that is neither is refused, with its pin in :attr:`trouble` and in the report.
    :param sources: names of the sources, each a folder at the receiver; at most 64.
    :param folders: folders whose files are sent beside, by the names of their sources.
    :param encode: how arrays travel: ``"png"`` or ``"raw"`` (without loss), ``"jpeg:90"`` (with).
    :param color: the order of colours in arrays, ``"bgr"`` as OpenCV or ``"rgb"``.
    :param deadline: how old a frame may be when it arrives, for all sources or by name: one that would be older is
        dropped and declared. Without it every frame is sent, however late.
    :param weight: shares of the link, 1 to 100 by the names of sources.
    :param memory: memory for frames that are not settled; :meth:`send` waits while it is full. With a spool, for those of
        sources with a deadline.
    :param spool: a folder in which frames are kept while the link cannot take them. What is in it when the process ends, or is
        killed, is sent by the next sender that names it and a source of the same name; what was only in memory then is
        declared. Frames of sources with a deadline are not kept, but accounted for.
    :param spool_size: bytes on disk, at most; 10 GiB if nothing is said.
    :param spool_memory: bytes in memory before that, of all sources; 64 MiB if nothing is said.
    :param when_full: ``"wait"`` (:meth:`send` waits; the default) or ``"drop-oldest"`` (the oldest frames go, and are declared).
        This, and ``spool_memory``, without ``spool`` make a spool in memory alone.
    :param drain: how long frames are still sent when a ``with`` block ends by an exception, or the program without having
        finished. The receiver has half a second more to confirm what it has.
    :param retry_for: how long to go on without a receiver; a program that is to run for days says ``"1d"``.
    :param transport: ``"auto"`` (QUIC where UDP gets through, else TCP, changed while frames are sent), or only ``"quic"``, ``"tcp"``,
        ``"tcp-per-frame"`` or ``"stop-and-wait"``.
    :param via: links of this machine to leave by, by name or address: the first that leads to the receiver is used. With
        ``transport="auto"``.
    :param repair: spare data behind live frames on lossy links: ``"auto"``, ``"off"`` or a share, ``"10%"``.
    :param authority: a file of certificate authorities (PEM) by which the receiver is trusted.
    :param certs: the folder of this machine's certificate and key, which are made where they are missing.
    :raises SpoolError: the spool cannot be used: :class:`~framelane.SpoolInUse`, :class:`~framelane.SpoolVersionError`,
        :class:`~framelane.NotASpool`, :class:`~framelane.SpoolDiskError`.
    :raises StartError: something else of these cannot be.
    """

    def send(
        self,
        source: str,
        image: Image,
        *,
        captured: Moment = None,
        name: str | None = None,
        encode: str | None = None,
        color: str | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Sends a frame, and returns when it is encoded and handed over; it waits only while the memory is full.

        The array may be changed as soon as this returns. ``bytes`` are not copied.

        :param source: one of the sources.
        :param image: an array of shape (H, W), (H, W, 3) or (H, W, 4) in uint8 or uint16 (``encode="raw"``: any shape and
            type), the bytes of an encoded image (JPEG, PNG, TIFF, ...), which travel as they are, or a Pillow image, whose own mode says which
            colours it has.
        :param captured: when it was captured: a ``datetime`` with its zone, ``time.time_ns()``, ``time.time()``; when this was called, if nothing is said.
        :param name: its file's name at the receiver, instead of one made of the time.
        :param encode: for this frame instead of the sender's.
        :param color: for this frame instead of the sender's.
        :param timeout: seconds to wait for memory, then :class:`TimeoutError`; the frame was not taken then.
        :raises EncodeError: the array cannot be encoded so.
        :raises PushError: there is no such source, or a name that cannot be.
        :raises RunEnded: the sender has ended; :meth:`finish` says why.
        """
        # Before it is encoded, which takes its time.
        now = time.time_ns()
        self._check(source, name)
        moment = _units.nanoseconds(captured)
        if moment is None:
            moment = now
        body, extension = self._encoded(image, encode, color)
        return Receipt(self._native.push((source, body, extension, name, moment), timeout))

    def finish(self, timeout: float | None = None) -> SendReport:
        """Takes no more frames, waits until every one is settled, and says what became of them. May be called again.

        :param timeout: seconds, then :class:`TimeoutError`; frames are still being sent then.
        """
        text = self._native.finish(timeout)
        if text is None:
            raise TimeoutError("frames are not settled within the timeout, and are still being sent")
        return self._ended(text)

    def close(self) -> SendReport:
        """Stops, and says what became of everything. The receiver has half a second to confirm what it has, and a spool as
        long as its disk takes."""
        return self._closed(_leaving.cut_short([self])[0])

    def __enter__(self) -> "Sender":
        return self

    def __exit__(
        self,
        kind: Type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            _leaving.check(self, self.finish())
            return
        # The exception that ended the block is the one to be seen.
        try:
            _leaving.wind_up([(self, time.monotonic() + self._drain_for)])
        except ForkedError:
            pass


class AsyncSender(_Sending):
    """:class:`Sender` for asyncio: ``async with``, ``await sender.send(...)``, ``await receipt``.

    PNG and JPEG are encoded in a thread of the loop's executor; the loop is not held up.
    """

    __doc__ = (__doc__ or "") + "\n" + (Sender.__doc__ or "")[(Sender.__doc__ or "").find("    :param receiver") :]

    async def send(
        self,
        source: str,
        image: Image,
        *,
        captured: Moment = None,
        name: str | None = None,
        encode: str | None = None,
        color: str | None = None,
    ) -> Receipt:
        """As :meth:`Sender.send`. Cancelled while it waits for memory, it has not taken the frame."""
        now = time.time_ns()
        self._check(source, name)
        moment = _units.nanoseconds(captured)
        if moment is None:
            moment = now
        how = self._encode if encode is None else encode
        if isinstance(image, (bytes, bytearray, memoryview)) or how == "raw":
            body, extension = self._encoded(image, encode, color)
        else:
            loop = asyncio.get_running_loop()
            body, extension = await loop.run_in_executor(None, self._encoded, image, encode, color)
        pushed = self._native.push_soon((source, body, extension, name, moment))
        if isinstance(pushed, _native.Receipt):
            return Receipt(pushed)
        # Nothing comes between the two: whoever is cancelled while it waits has not handed it over.
        return Receipt((await pushed).push())

    async def finish(self) -> SendReport:
        """As :meth:`Sender.finish`; ``asyncio.timeout`` bounds it."""
        return self._ended(await self._native.finish_soon())

    async def close(self) -> SendReport:
        """As :meth:`Sender.close`."""
        return self._closed(await _leaving.cut_short_soon(self, self._native.finish_soon()))

    async def __aenter__(self) -> "AsyncSender":
        return self

    async def __aexit__(
        self,
        kind: Type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            _leaving.check(self, await self.finish())
            return
        # The exception that ended the block is the one to be seen.
        try:
            await _leaving.wind_up_soon(self, time.monotonic() + self._drain_for)
        except ForkedError:
            pass

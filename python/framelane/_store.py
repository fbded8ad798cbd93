"""Reading what a receiver has stored."""

from __future__ import annotations

import bisect
import datetime
import os
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Tuple, Union, overload

import numpy as np
import numpy.typing as npt

from . import _codec, _native, _units
from ._units import Moment, Span
from .errors import StoreError

if TYPE_CHECKING:
    import pandas
    import polars

_TIMES = ("captured", "due", "received", "stored")
_NUMBERS = ("sequence", "bytes")
_WORDS = ("clock", "media", "run", "sender")
_RECORDS = ("manifest.jsonl", "ledger.jsonl")


_Content = Tuple[bytes, _native.Body]


class StoredFrame:
    """A frame in a store."""

    __slots__ = ("_of", "index")

    def __init__(self, of: "Source", index: int) -> None:
        self._of = of
        self.index = index
        """Its place in the :class:`Source`."""

    @property
    def source(self) -> str:
        """The name of its source."""
        return self._of.name

    @property
    def name(self) -> str:
        """Its name, with the folders in it."""
        return self._of._name(self.index)

    @property
    def path(self) -> str:
        """Its file."""
        return self._of._path(self.index)

    @property
    def sequence(self) -> int:
        """Its place in its run."""
        return int(self._of.sequence[self.index])

    @property
    def captured(self) -> datetime.datetime | None:
        """When it was captured, in UTC, to the microsecond; ``None`` where nobody knows."""
        return _units.moment(self.captured_ns)

    @property
    def captured_ns(self) -> int | None:
        """The same in nanoseconds since 1970."""
        time = self._of.captured[self.index]
        return None if np.isnat(time) else int(time.astype(np.int64))

    @property
    def bytes(self) -> bytes:
        """Its file's content, which is what was stored: it is held against the hash in the manifest. The file itself is at
        :attr:`path`, whatever it holds.

        :raises StoreError: the file is not there, cannot be read, or is not what was stored.
        """
        return self._content()[0]

    def array(self, *, color: str = "bgr") -> "npt.NDArray[Any]":
        """The image, as :meth:`framelane.Frame.array` has it, of what was stored.

        :raises StoreError: as :attr:`bytes`.
        :raises DecodeError: it is no image that can be decoded.
        """
        return _codec.decoded(self._content()[1], color)

    def _content(self) -> "_Content":
        size = int(self._of.size[self.index])
        try:
            with open(self.path, "rb") as file:
                length = os.fstat(file.fileno()).st_size
                # Looked at first: what the manifest says may be no length of a file. One that is longer by now is not read to
                # its end, however long.
                content = file.read(size + 1) if length == size else b""
        except FileNotFoundError:
            raise StoreError(
                f"the file of {self.source}/{self.name} is not there: {self.path}. It has expired, or was deleted or moved; "
                "Store.refresh() has the store read anew"
            ) from None
        except OSError as error:
            raise StoreError(f"the file of {self.source}/{self.name} cannot be read: {error}") from error
        if length != size or len(content) != size:
            raise StoreError(f"{self.path} is not what was stored: it has {max(length, len(content))} bytes, and {size} were stored")
        body = _native.Body(content)
        if body.blake3() != self._of._hash(self.index):
            raise StoreError(f"{self.path} is not what was stored: its BLAKE3 hash is not the one in the manifest")
        return content, body

    def __repr__(self) -> str:
        return f"<StoredFrame {self.source}/{self.name}: sequence {self.sequence}, captured {self.captured}>"


Pair = Tuple[StoredFrame, StoredFrame, datetime.timedelta]
"""Two frames that belong together, and how much later the second was captured."""


class Source(Sequence[StoredFrame]):
    """The frames of a source, in the order of their capture times; frames without one come last, in the order stored.

    Columns are arrays with an entry a frame: :attr:`captured`, :attr:`received`, :attr:`stored` and :attr:`due`
    (``datetime64[ns]`` in UTC, ``NaT`` where unknown), :attr:`sequence` and :attr:`size` (``uint64``), and the lists
    :attr:`names`, :attr:`paths` and :attr:`blake3`, which are made when they are asked for. Every layout is read, by day and by hour as well. Frames of days that
    have expired are left out, and counted in :attr:`expired`.

    It takes some 150 bytes a frame; :meth:`Store.source` has the frames of some hours alone.
    """

    def __init__(self, folder: str, name: str, since: int | None = None, until: int | None = None) -> None:
        self.folder = folder
        """Where it is."""
        self.name = name
        """What it is called."""
        columns = self._columns = _native.read_manifest(folder, since, until)
        captured = columns.times("captured")
        late = np.where(captured == np.iinfo(np.int64).min, np.iinfo(np.int64).max, captured)
        order = self._order = np.argsort(late, kind="stable")
        del late
        self.expired: int = columns.expired
        """How many frames more there were, of days that the receiver has removed because they were old enough."""
        self._times: Dict[str, npt.NDArray[np.datetime64]] = {}
        for column in _TIMES:
            times = captured if column == "captured" else columns.times(column)
            self._times[column] = times[order].view("datetime64[ns]")
        self._numbers = {column: columns.numbers(column)[order] for column in _NUMBERS}
        self._words: Dict[str, Tuple[List[str | None], npt.NDArray[np.uint32]]] = {}
        for column in _WORDS:
            words, places = columns.words(column)
            self._words[column] = (words, places[order])

    def _name(self, index: int) -> str:
        return self._columns.name(int(self._order[index]))

    def _path(self, index: int) -> str:
        return self._columns.path(int(self._order[index]))

    def _hash(self, index: int) -> str:
        return self._columns.hash(int(self._order[index]))

    @property
    def names(self) -> List[str]:
        """The frames' names."""
        return [self._columns.name(at) for at in self._order.tolist()]

    @property
    def paths(self) -> List[str]:
        """Their files."""
        return [self._columns.path(at) for at in self._order.tolist()]

    @property
    def blake3(self) -> List[str]:
        """The hashes of their contents, in hex."""
        return [self._columns.hash(at) for at in self._order.tolist()]

    @property
    def captured(self) -> "npt.NDArray[np.datetime64]":
        """When each frame was captured, by its sender's clock."""
        return self._times["captured"]

    @property
    def received(self) -> "npt.NDArray[np.datetime64]":
        """When each frame's last byte had arrived, by the receiver's clock."""
        return self._times["received"]

    @property
    def stored(self) -> "npt.NDArray[np.datetime64]":
        """When each frame's file had its name."""
        return self._times["stored"]

    @property
    def due(self) -> "npt.NDArray[np.datetime64]":
        """When each frame was due, where it was sent at a pace."""
        return self._times["due"]

    @property
    def sequence(self) -> "npt.NDArray[np.uint64]":
        """Each frame's place in its run."""
        return self._numbers["sequence"]

    @property
    def size(self) -> "npt.NDArray[np.uint64]":
        """Each frame's length in bytes."""
        return self._numbers["bytes"]

    def column(self, name: str) -> List[str | None]:
        """``clock``, ``media``, ``run`` or ``sender`` of each frame."""
        if name not in self._words:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(_WORDS)}")
        words, places = self._words[name]
        return [words[place] for place in places]

    def drops(self) -> "List[Drop]":
        """Frames that were declared dropped, with the reasons."""
        return [Drop(*drop) for drop in _native.read_drops(self.folder)]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> StoredFrame: ...

    @overload
    def __getitem__(self, index: slice) -> List[StoredFrame]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[StoredFrame, List[StoredFrame]]:
        if isinstance(index, slice):
            return [StoredFrame(self, at) for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"{self.name} has {len(self)} frames, and none at {index}")
        return StoredFrame(self, int(at))

    def __iter__(self) -> Iterator[StoredFrame]:
        return (StoredFrame(self, at) for at in range(len(self)))

    def columns(self) -> Dict[str, Any]:
        """All columns by name, as arrays and lists."""
        return {
            "sequence": self.sequence,
            "name": self.names,
            "bytes": self.size,
            "captured": self.captured,
            "due": self.due,
            "received": self.received,
            "stored": self.stored,
            **{word: self.column(word) for word in _WORDS},
            "blake3": self.blake3,
        }

    def to_numpy(self) -> "npt.NDArray[Any]":
        """A structured array, with an entry a frame: sequence, bytes and times; names as fixed-width text."""
        columns = self.columns()
        names = np.array(columns["name"], dtype=np.str_) if len(self) else np.empty(0, "U1")
        fields = [("sequence", np.uint64), ("bytes", np.uint64), ("name", names.dtype)]
        table = np.empty(len(self), dtype=fields + [(time, "datetime64[ns]") for time in _TIMES])
        for column in table.dtype.names or ():
            table[column] = names if column == "name" else columns[column]
        return table

    def to_pandas(self) -> "pandas.DataFrame":
        """A row a frame; times with UTC as their zone. Needs pandas."""
        import pandas

        table = pandas.DataFrame(self.columns())
        for time in _TIMES:
            table[time] = table[time].dt.tz_localize("UTC")
        return table

    def to_polars(self) -> "polars.DataFrame":
        """A row a frame; times with UTC as their zone. Needs polars."""
        import polars

        table = polars.DataFrame(self.columns())
        return table.with_columns([polars.col(time).dt.replace_time_zone("UTC") for time in _TIMES])

    def __repr__(self) -> str:
        return f"<Source {self.name}: {len(self)} frames>"


class Drop:
    """Frames in a row that were declared dropped."""

    __slots__ = ("captured_ns", "first", "last", "reason", "run", "where")

    def __init__(
        self,
        run: str,
        first: int,
        last: int,
        reason: str | None,
        where: str,
        captured_ns: Tuple[int, int] | None,
    ) -> None:
        self.run, self.first, self.last = run, first, last
        self.reason, self.where, self.captured_ns = reason, where, captured_ns

    def __repr__(self) -> str:
        return f"<Drop of {self.first} to {self.last}: {self.reason}, {self.where}>"


class _Drops:
    """Drops by the times of their frames."""

    def __init__(self, drops: List[Drop], within: int) -> None:
        timed = [(*drop.captured_ns, drop) for drop in drops if drop.captured_ns is not None]
        timed.sort(key=lambda one: one[0])
        self._begins: List[int] = []
        self._last: List[Tuple[int, Drop]] = []
        """Of those that begin up to there, the one that ends last, and when."""
        for begin, end, drop in timed:
            self._begins.append(begin - within)
            last = (end + within, drop)
            self._last.append(last if not self._last or self._last[-1][0] < last[0] else self._last[-1])

    def around(self, time: int) -> "Drop | None":
        """One whose frames were captured around then."""
        at = bisect.bisect_right(self._begins, time)
        if at == 0:
            return None
        end, drop = self._last[at - 1]
        return drop if time <= end else None


class Pairs:
    """Frames of two sources that belong together, in the order of the first source.

    ``pairs[i]`` is the two frames and the skew, ``pairs[i:j]`` a list of such; ``first`` and ``second`` are the frames' places in their sources, ``skew`` is how
    much later the second was captured, in nanoseconds. :meth:`alone` names what has no partner, and why.
    """

    def __init__(
        self,
        sources: Tuple[Source, Source],
        places: Tuple["npt.NDArray[np.int64]", "npt.NDArray[np.int64]"],
        within_ns: int,
    ) -> None:
        self._sources = sources
        self.first, self.second = places
        self.within_ns = within_ns
        times = [source.captured.view(np.int64) for source in sources]
        self.skew: npt.NDArray[np.int64] = times[1][self.second] - times[0][self.first]

    def __len__(self) -> int:
        return len(self.first)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> List[Pair]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Pair, List[Pair]]:
        if isinstance(index, slice):
            return [self._pair(at) for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"there are {len(self)} pairs, and none at {index}")
        return self._pair(at)

    def _pair(self, index: int) -> Pair:
        first, second = self._sources
        skew = datetime.timedelta(microseconds=int(self.skew[index]) / 1_000)
        return first[int(self.first[index])], second[int(self.second[index])], skew

    def __iter__(self) -> Iterator[Pair]:
        return (self._pair(at) for at in range(len(self)))

    def alone(self) -> List[Tuple[StoredFrame, str]]:
        """Frames without a partner, of the first source and then of the second, each with the reason."""
        return self._alone(0) + self._alone(1)

    def _alone(self, which: int) -> List[Tuple[StoredFrame, str]]:
        own, other = self._sources[which], self._sources[1 - which]
        own_places, other_places = (self.first, self.second) if which == 0 else (self.second, self.first)
        lonely = np.ones(len(own), dtype=bool)
        lonely[own_places] = False
        places = np.flatnonzero(lonely)
        if not len(places):
            return []
        partner_of = np.full(len(other), -1, dtype=np.int64)
        partner_of[other_places] = own_places
        known = ~np.isnat(other.captured)
        times = other.captured.view(np.int64)[known]
        drops = _Drops(other.drops(), self.within_ns)
        return [(own[int(at)], self._reason(own, other, int(at), times, partner_of, drops)) for at in places]

    def _reason(
        self,
        own: Source,
        other: Source,
        at: int,
        times: "npt.NDArray[np.int64]",
        partner_of: "npt.NDArray[np.int64]",
        drops: "_Drops",
    ) -> str:
        if np.isnat(own.captured[at]):
            return "it has no capture time"
        time = int(own.captured[at].astype(np.int64))
        drop = drops.around(time)
        if drop is not None:
            return (
                f"{other.name} declared frames {drop.first} to {drop.last} dropped around then: "
                f"{drop.reason or 'for a reason that is not known here'}, at the {drop.where}"
            )
        if not len(times):
            return f"{other.name} has no frame with a capture time"
        # Frames with a time come first in a source, in its order, so places in `times` are places in the source.
        behind = int(np.searchsorted(times, time))
        near = min((place for place in (behind - 1, behind) if 0 <= place < len(times)), key=lambda place: abs(int(times[place]) - time))
        gap = abs(int(times[near]) - time)
        if gap > self.within_ns:
            return f"the nearest frame of {other.name}, {other._name(near)}, is {_words(gap)} away"
        partner = int(partner_of[near])
        return f"the nearest frame of {other.name}, {other._name(near)}, is closer to {own._name(partner)}"

    def _labels(self) -> Tuple[str, str]:
        a, b = (source.name for source in self._sources)
        return (f"{a}_1", f"{b}_2") if a == b else (a, b)

    def columns(self) -> Dict[str, Any]:
        """Names, capture times and skews (``timedelta64[ns]``) of all pairs."""
        first, second = self._sources
        a, b = self._labels()
        return {
            a: [first._name(at) for at in self.first],
            b: [second._name(at) for at in self.second],
            f"{a}_captured": first.captured[self.first],
            f"{b}_captured": second.captured[self.second],
            "skew": self.skew.view("timedelta64[ns]"),
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """A row a pair; times with UTC as their zone. Needs pandas."""
        import pandas

        table = pandas.DataFrame(self.columns())
        for label in self._labels():
            table[f"{label}_captured"] = table[f"{label}_captured"].dt.tz_localize("UTC")
        return table

    def to_polars(self) -> "polars.DataFrame":
        """A row a pair; times with UTC as their zone. Needs polars."""
        import polars

        table = polars.DataFrame(self.columns())
        return table.with_columns([polars.col(f"{label}_captured").dt.replace_time_zone("UTC") for label in self._labels()])

    def __repr__(self) -> str:
        first, second = self._sources
        return f"<Pairs of {first.name} and {second.name}: {len(self)}, {len(first) - len(self)} and {len(second) - len(self)} alone>"


def _words(nanos: int) -> str:
    return f"{nanos / 1e6:.1f} ms" if nanos < 1_000_000_000 else f"{nanos / 1e9:.1f} s"


class Store:
    """A store, as ``receive --out`` or ``Receiver(out=...)`` makes it. It is only read, at any time, a receiver at work included.

    ::

        store = framelane.Store("received")
        for visible, infrared, skew in store.pairs("visible", "infrared", within="20ms"):
            ...

    Sources are read when they are first asked for, about 2 µs a frame, and kept; :meth:`refresh` forgets them.

    :raises StoreError: there is no such folder.
    """

    def __init__(self, folder: "str | os.PathLike[str]") -> None:
        self.folder = _units.path(folder)
        if not os.path.isdir(self.folder):
            raise StoreError(f"there is no store at {self.folder}")
        self._read: Dict[str, Source] = {}

    @property
    def sources(self) -> List[str]:
        """The names of the sources that have frames."""
        try:
            with os.scandir(self.folder) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise StoreError(f"the store cannot be read: {error}") from error
        return sorted(name for name in found if self._is_source(name))

    def _is_source(self, name: str) -> bool:
        return any(os.path.isfile(os.path.join(self.folder, name, record)) for record in _RECORDS)

    def __getitem__(self, source: str) -> Source:
        if source not in self._read:
            self._read[source] = Source(self._folder_of(source), source)
        return self._read[source]

    def source(self, name: str, *, since: Moment = None, until: Moment = None) -> Source:
        """The frames of a source that were captured from ``since`` on and before ``until``, for stores of months: what is read of
        the others takes its time, and no memory. It is read anew each time, and not kept.

        :param since: a ``datetime`` with its zone, nanoseconds or seconds since 1970; from the beginning, if nothing is said.
        :param until: the same; to the end, if nothing is said.
        """
        return Source(self._folder_of(name), name, _units.nanoseconds(since), _units.nanoseconds(until))

    def _folder_of(self, source: str) -> str:
        folder = os.path.join(self.folder, source)
        if source in ("", ".", "..") or os.sep in source or not os.path.isdir(folder):
            known = ", ".join(self.sources) or "none"
            raise KeyError(f"there is no source {source!r} in {self.folder}; there are {known}")
        return folder

    def __contains__(self, source: object) -> bool:
        return source in self.sources

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def refresh(self) -> None:
        """Has sources read anew when they are next asked for."""
        self._read.clear()

    def pairs(self, first: str, second: str, within: Span = "20ms") -> Pairs:
        """Frames of two sources that were captured together.

        The closest first: of all frames that are left, the two whose capture times are closest are a pair, as long as they
        are no further apart than ``within``. Each frame has one partner at most.

        :param within: seconds, or with a unit: ``"20ms"``.
        """
        within_ns = round(_units.seconds(within) * 1e9)
        sources = (self[first], self[second])
        times = []
        for source in sources:
            known = int(np.count_nonzero(~np.isnat(source.captured)))
            times.append(np.ascontiguousarray(source.captured.view(np.int64)[:known]))
        places = _native.closest_pairs(times[0], times[1], within_ns)
        return Pairs(sources, places, within_ns)

    def __repr__(self) -> str:
        try:
            return f"<Store {self.folder}: {', '.join(self.sources) or 'no sources'}>"
        except StoreError:
            return f"<Store {self.folder}: cannot be read>"

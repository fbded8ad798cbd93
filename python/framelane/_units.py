"""Quantities as callers give them: seconds or "250ms", bytes or "64MiB", times of capture."""

from __future__ import annotations

import datetime
import math
import os
from typing import Any, Iterable, List, Mapping, Tuple, TypeVar, Union

import numpy as np

from . import _native

Span = Union[float, int, str, datetime.timedelta]
"""A length of time: seconds, or with a unit as on the command line (``"300ms"``), or a ``timedelta``."""

Size = Union[int, str]
"""A number of bytes, or with a unit as on the command line (``"64MiB"``)."""

Moment = Union[datetime.datetime, np.datetime64, int, float, None]
"""A point in time: a ``datetime`` with its zone (pandas' keep their nanoseconds), a ``numpy.datetime64`` in UTC, nanoseconds since 1970 (``time.time_ns()``) as an ``int``, seconds since 1970
(``time.time()``) as a ``float``, or ``None`` for now."""

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


LONGEST = 86_400.0 * 366 * 100
"""Seconds: longer than anything lasts that can be waited for."""


def seconds(span: Span) -> float:
    if isinstance(span, str):
        return _native.parse_span(span)
    if isinstance(span, datetime.timedelta):
        span = span.total_seconds()
    elif isinstance(span, bool) or not isinstance(span, (int, float)):
        raise TypeError(f"a length of time is seconds, or text as \"300ms\", not {type(span).__name__}")
    if not 0 <= span <= LONGEST:
        raise ValueError(f"a length of time is seconds from 0 to a hundred years, or text as \"300ms\", not {span}")
    return float(span)


def size(size: Size) -> int:
    if isinstance(size, str):
        return _native.parse_size(size)
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"a size is a whole number of bytes, or text as \"64MiB\", not {type(size).__name__}")
    if not 0 <= size < 1 << 64:
        raise ValueError(f"a size is bytes from 0 on, or text as \"64MiB\", not {size}")
    return int(size)


def nanoseconds(moment: Moment) -> int | None:
    """Nanoseconds since 1970; ``None`` for now."""
    if moment is None:
        return None
    if isinstance(moment, np.datetime64):
        nanos = _of_numpy(moment)
    elif isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            raise ValueError(
                "a datetime without a zone is another moment on each machine: "
                "say datetime.now(timezone.utc), or time.time_ns()"
            )
        micros = (moment - EPOCH) // datetime.timedelta(microseconds=1)
        # What pandas has beyond microseconds.
        nanos = micros * 1_000 + getattr(moment, "nanosecond", 0)
    elif isinstance(moment, float):
        if not math.isfinite(moment):
            raise ValueError(f"{moment} is no capture time")
        nanos = int(moment * 1e9)
    elif hasattr(moment, "__index__"):
        nanos = int(moment)
        # 1973: seconds, milliseconds and microseconds of any year to come are less.
        if 0 < nanos < 100_000_000_000_000_000:
            raise ValueError(f"{nanos} as a capture time: whole numbers are nanoseconds since 1970, as time.time_ns() gives them")
    else:
        raise TypeError(f"a capture time is a datetime, nanoseconds or seconds since 1970, not {type(moment).__name__}")
    if not 0 <= nanos < 1 << 63:
        raise ValueError(f"{moment} as a capture time is outside of 1970 to 2262")
    return nanos


def _of_numpy(moment: np.datetime64) -> int:
    """What stores have in :attr:`Source.captured`, and pandas and polars in their columns: in UTC."""
    if np.isnat(moment):
        raise ValueError("NaT is no capture time")
    unit, count = np.datetime_data(moment.dtype)
    if unit not in _NANOS:
        raise ValueError(f"{moment!r} as a capture time is no finer than days: datetime64 with a unit from \"D\" to \"ns\" is known here")
    return int(moment.astype(np.int64)) * count * _NANOS[unit]


_NANOS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "D": 86_400_000_000_000,
}


def moment(nanos: int | None) -> datetime.datetime | None:
    """With microseconds, which is as fine as a ``datetime`` is."""
    return None if nanos is None else EPOCH + datetime.timedelta(microseconds=nanos // 1_000)


def path(given: "str | os.PathLike[str]") -> str:
    return os.fsdecode(os.path.expanduser(given))


Value = TypeVar("Value")


def text(parameter: str, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{parameter}={given!r}: {parameter} is a str, not {type(given).__name__}")
    return given


def texts(parameter: str, given: "str | Iterable[str] | None") -> List[str]:
    """One or several, which may be none."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    try:
        listed = list(given)
    except TypeError:
        raise TypeError(f"{parameter}={given!r}: {parameter} is a str, or several, not {type(given).__name__}") from None
    for one in listed:
        if not isinstance(one, str):
            raise TypeError(f"{parameter}={given!r}: {parameter} is a str, or several, and {one!r} is none")
    return listed


def by_name(parameter: str, given: "Mapping[str, Value] | None") -> List[Tuple[str, Value]]:
    """What is said of each source by its name."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise TypeError(f"{parameter}={given!r}: {parameter} is a dict by the names of sources, not {type(given).__name__}")
    texts(parameter, given)
    return list(given.items())


def flag(parameter: str, given: Any) -> bool:
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{parameter}={given!r}: {parameter} is True or False, not {type(given).__name__}")
    return bool(given)


def no_copy(thing: object) -> str:
    return (
        f"a {type(thing).__name__} works with threads and connections, of which there is no copy: share the one there is among "
        "threads, and make one in each process"
    )

"""Quantities as callers give them: seconds or "250ms", bytes or "64MiB", times of capture."""

from __future__ import annotations

import datetime
import math
import os
from typing import Union

from . import _native

Span = Union[float, int, str, datetime.timedelta]
"""A length of time: seconds, or with a unit as on the command line (``"300ms"``), or a ``timedelta``."""

Size = Union[int, str]
"""A number of bytes, or with a unit as on the command line (``"64MiB"``)."""

Moment = Union[datetime.datetime, int, float, None]
"""A point in time: a ``datetime`` with its zone, nanoseconds since 1970 (``time.time_ns()``) as an ``int``, seconds since 1970
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
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            raise ValueError(
                "a datetime without a zone is another moment on each machine: "
                "say datetime.now(timezone.utc), or time.time_ns()"
            )
        micros = (moment - EPOCH) // datetime.timedelta(microseconds=1)
        nanos = micros * 1_000
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


def moment(nanos: int | None) -> datetime.datetime | None:
    """With microseconds, which is as fine as a ``datetime`` is."""
    return None if nanos is None else EPOCH + datetime.timedelta(microseconds=nanos // 1_000)


def path(given: "str | os.PathLike[str]") -> str:
    return os.fspath(os.path.expanduser(given))

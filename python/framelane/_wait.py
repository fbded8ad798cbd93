"""How futures of asyncio are settled by threads of the library."""

from __future__ import annotations

import asyncio
from typing import Any


def settle(future: "asyncio.Future[Any]", value: Any, error: "BaseException | None") -> None:
    """Called in the future's loop. One that was cancelled meanwhile is left alone."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)

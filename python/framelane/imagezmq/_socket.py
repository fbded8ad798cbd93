"""The socket that imagezmq's objects have, as far as programs use it: limits to waiting, and closing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, NoReturn, SupportsIndex, Type

from .._units import no_copy
from ..errors import FramelaneError


class Again(FramelaneError, TimeoutError):
    """A limit that was set with ``zmq_socket.setsockopt`` is over. Where pyzmq has been imported it is ``zmq.Again`` instead,
    for programs that catch that."""


RCVTIMEO, SNDTIMEO, LINGER = 27, 28, 17
"""What pyzmq has by these names."""


class Socket:
    """What programs set at the socket of imagezmq's objects: limits to waiting, in milliseconds.

    ``RCVTIMEO`` is for a reply and for an image, ``SNDTIMEO`` for handing an image over; -1 waits for ever, as it is without
    a word. ``LINGER`` is taken and changes nothing: no end here waits for long. What else a socket has is not here.
    """

    def __init__(self, of: "Closing") -> None:
        self._of = of
        self._options = {RCVTIMEO: -1, SNDTIMEO: -1, LINGER: -1}

    def setsockopt(self, option: int, value: int) -> None:
        """Sets an option, as ``zmq.RCVTIMEO``."""
        known = ", ".join(name for name in Socket._names)
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

    _names = {"RCVTIMEO": RCVTIMEO, "SNDTIMEO": SNDTIMEO, "LINGER": LINGER}

    def __getattr__(self, name: str) -> int:
        if name.upper() in Socket._names:
            return self.getsockopt(Socket._names[name.upper()])
        raise AttributeError(f"there is no socket of ZeroMQ here: {', '.join(Socket._names)} can be set, and it can be closed; not {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.upper() in Socket._names:
            self.setsockopt(Socket._names[name.upper()], value)
        else:
            object.__setattr__(self, name, value)

    def close(self, linger: int | None = None) -> None:
        """Closes what it belongs to."""
        self._of.close()

    def seconds_of(self, option: int) -> float | None:
        limit = self._options[option]
        return None if limit < 0 else limit / 1_000


class Context:
    """What programs do with the context of imagezmq's objects: end it, and so whatever waits."""

    def __init__(self, of: "Closing") -> None:
        self._of = of

    def term(self) -> None:
        """Closes what it belongs to."""
        self._of.close()

    def destroy(self, linger: int | None = None) -> None:
        """Closes what it belongs to."""
        self._of.close()


class Limit:
    """How long something may wait: as the call says, else as the socket does. Raises what the one who said it expects."""

    def __init__(self, timeout: float | None, socket: Socket, option: int) -> None:
        self._of_socket = timeout is None
        self.seconds = socket.seconds_of(option) if timeout is None else timeout

    def over(self, error: TimeoutError) -> Exception:
        """The exception that says so."""
        if not self._of_socket:
            return error
        zmq = sys.modules.get("zmq")
        return Again(str(error)) if zmq is None else zmq.Again()


class Closing:
    """``with`` and ``close``."""

    zmq_context: Context
    zmq_socket: Socket
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

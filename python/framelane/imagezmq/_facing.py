"""Where peers reach this end: replies, and published images, come back to a port of its own."""

from __future__ import annotations

import socket
import time
from typing import Any, List, Tuple

_FRESH = 1.0
"""Seconds for which an address is taken to be the right one still."""
_ASKED = 5.0
"""Seconds between two questions for the addresses of a name."""


def is_here(host: str) -> bool:
    """True of addresses within a machine."""
    host = host.strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


class Facing:
    """This machine's address towards a peer. The system is asked for it again and again, and nothing is sent for that: a network may come,
    go and change while a program runs."""

    def __init__(self, host: str, port: str) -> None:
        self._host, self._port = host.strip("[]"), int(port)
        self._peers: List[Tuple[Any, ...]] = []
        self._asked = self._found = float("-inf")
        self._here: str | None = None

    @property
    def listen(self) -> str:
        """Where to listen: within the machine for a peer that is there, else at every address, since ours may change."""
        if not is_here(self._host):
            return ":0"
        return "[::1]:0" if self._host == "::1" else "127.0.0.1:0"

    def address(self, port: int) -> str | None:
        """What to tell the peer of this port of ours; ``None`` while there is no way to it."""
        if is_here(self._host):
            return self.listen[:-1] + str(port)
        now = time.monotonic()
        if self._here is None or now - self._found > _FRESH:
            self._here, self._found = self._look() or self._look_again(now), now
        return None if self._here is None else f"{self._here}:{port}"

    def _look_again(self, now: float) -> str | None:
        """With the addresses that the peer's name has now."""
        if now - self._asked < _ASKED:
            return None
        self._asked = now
        try:
            self._peers = list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM))
        except OSError:
            return None
        return self._look()

    def _look(self) -> str | None:
        for family, kind, protocol, _, there in self._peers:
            try:
                with socket.socket(family, kind, protocol) as asking:
                    asking.connect(there)
                    here = str(asking.getsockname()[0])
            except OSError:
                continue
            return f"[{here}]" if family == socket.AF_INET6 else here
        return None

"""A link that loses packets, for UDP on this machine: what is not lost arrives a little later."""

from __future__ import annotations

import heapq
import random
import select
import socket
import threading
import time


class Relay:
    """Passes datagrams between whoever sends to ``address`` and a place, in both directions, until it is closed.

    :param loss: the share of datagrams that are lost, each way.
    :param delay: seconds each way.
    """

    def __init__(self, to: tuple[str, int], loss: float, delay: float, seed: int) -> None:
        self._to, self._loss, self._delay = to, loss, delay
        self._random = random.Random(seed)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._front.bind(("127.0.0.1", 0))
        self._behind: dict[tuple[str, int], socket.socket] = {}
        self._ended = threading.Event()
        self.lost = self.passed = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return "127.0.0.1:%d" % self._front.getsockname()[1]

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for one in [self._front, *self._behind.values()]:
            one.close()

    def _run(self) -> None:
        waiting: list[tuple[float, int, socket.socket, tuple[str, int], bytes]] = []
        count = 0
        back = {}
        while not self._ended.is_set():
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, out, to, packet = heapq.heappop(waiting)
                try:
                    out.sendto(packet, to)
                except OSError:
                    pass  # Nobody listens there just now.
            pause = min(0.05, waiting[0][0] - now) if waiting else 0.05
            ready, _, _ = select.select([self._front, *self._behind.values()], [], [], max(0.0, pause))
            for one in ready:
                for _ in range(64):
                    try:
                        packet, sender = one.recvfrom(65_536, socket.MSG_DONTWAIT)
                    except OSError:
                        break
                    if one is self._front:
                        if sender not in self._behind:
                            self._behind[sender] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                            self._behind[sender].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                            back[self._behind[sender]] = sender
                        out, to = self._behind[sender], self._to
                    else:
                        out, to = self._front, back[one]
                    if self._random.random() < self._loss:
                        self.lost += 1
                        continue
                    self.passed += 1
                    count += 1
                    heapq.heappush(waiting, (time.monotonic() + self._delay, count, out, to, packet))

"""Both ends on this machine, each with a certificate of its own."""

from __future__ import annotations

import pathlib
import random
import socket
import threading
import time
from typing import Any, Callable, Iterator

import numpy as np
import pytest

import framelane

LIMIT = 60.0
"""Seconds after which a test that waits has failed, however slow the machine is."""


class Ends:
    """Makes senders and receivers that know each other."""

    def __init__(self, place: pathlib.Path) -> None:
        self.place = place
        self.sender_pin = framelane.own_pin(place / "sender")
        self.receiver_pin = framelane.own_pin(place / "receiver")

    def receiver(self, listen: str = "127.0.0.1:0", **options: Any) -> framelane.Receiver:
        options.setdefault("allow", [self.sender_pin])
        return framelane.Receiver(listen, certs=self.place / "receiver", **options)

    def async_receiver(self, **options: Any) -> framelane.AsyncReceiver:
        return framelane.AsyncReceiver(
            "127.0.0.1:0", allow=[self.sender_pin], certs=self.place / "receiver", **options
        )

    def sender(self, to: str, **options: Any) -> framelane.Sender:
        options.setdefault("pin", self.receiver_pin)
        options.setdefault("sources", ["visible"])
        return framelane.Sender(to, certs=self.place / "sender", **options)

    def async_sender(self, to: str, **options: Any) -> framelane.AsyncSender:
        options.setdefault("sources", ["visible"])
        return framelane.AsyncSender(to, pin=self.receiver_pin, certs=self.place / "sender", **options)


@pytest.fixture
def ends(tmp_path: pathlib.Path) -> Ends:
    return Ends(tmp_path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def beside() -> Iterator[Callable[[Callable[[], Any]], "Beside"]]:
    """Runs something in a thread beside the test, and what it raises is raised where it is waited for."""
    started: list[Beside] = []

    def start(work: Callable[[], Any]) -> Beside:
        started.append(Beside(work))
        return started[-1]

    yield start
    for thread in started:
        thread.join(LIMIT)


class Beside(threading.Thread):
    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # raised where it is waited for
            self._error = error

    def result(self) -> Any:
        self.join(LIMIT)
        assert not self.is_alive(), "it does not come to an end"
        if self._error is not None:
            raise self._error
        return self._result


def unused_port() -> int:
    """A port that nobody has, nor is given by the system: of those one may be another socket's of the same test when it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = (int(end) for end in file.read().split())
    ports = [*range(max(1_024, first - 8_000), first), *range(last + 1, min(65_536, last + 4_000))]
    random.shuffle(ports)
    for port in ports:
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as asking:
                    asking.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise AssertionError("every port outside of the system's own is in use")


def listen_again(listen: Callable[[], Any]) -> Any:
    """A port can be in use for a moment longer, while senders are told."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return listen()
        except framelane.ListenError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)

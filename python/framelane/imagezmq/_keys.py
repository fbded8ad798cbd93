"""Who this end is, and where: keys, pins and addresses."""

from __future__ import annotations

import os
from typing import List, Tuple

from .. import _native
from .._sender import Pins
from .._units import path, texts
from ._facing import is_here


def own_pin(certs: "str | os.PathLike[str] | None" = None) -> str:
    """This user's pin on this machine, by which peers know it. Certificate and key are made where they are missing."""
    return _native.own_pin(key_folder(certs))


def key_folder(certs: "str | os.PathLike[str] | None") -> str:
    given = certs if certs is not None else os.environ.get("FRAMELANE_CERTS")
    if given:
        return path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    folder = os.path.join(config, "framelane", "imagezmq")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    return folder


def trusted_pins(given: Pins, variable: str, certs: str) -> List[str]:
    """Those given, those in the environment, and our own: whoever has this user's key is this user."""
    listed = texts("allow" if variable == "FRAMELANE_ALLOW" else "pin", given)
    # As the command line takes them, apart by spaces, and apart by commas; and without the names that those may have there.
    named = [pin.rpartition("=")[2] for pin in os.environ.get(variable, "").replace(",", " ").split()]
    if "any" in listed + named:
        return ["any"]
    return [*dict.fromkeys([*listed, *named, _native.own_pin(certs)])]


def parse_address(text: str) -> Tuple[str, str]:
    """Host and port of ``tcp://HOST:PORT``, or of ``HOST:PORT``; the host is empty where every address is meant."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        rest = text
    elif scheme not in ("tcp", "udp", "framelane"):
        raise ValueError(f"{text!r}: only tcp:// addresses are known here, as in tcp://127.0.0.1:5555")
    host, colon, port = rest.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port[:6]) <= 65_535):
        raise ValueError(f"{text!r} has no port, as in tcp://127.0.0.1:5555")
    return ("" if host in ("*", "0.0.0.0") else host), port


def transport_to(host: str) -> str:
    """Within a machine nothing is lost, and TCP costs less; elsewhere whatever gets through."""
    return "tcp" if is_here(host) else "auto"

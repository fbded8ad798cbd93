"""Notes behind images, where readers of images do not look: the text that goes with one, and where a reply goes."""

from __future__ import annotations

import json
from typing import Any, Dict, Tuple

import numpy as np
import numpy.typing as npt

from .. import _codec, _native
from .._native import Body

MAGIC = b"\nflmsg1\n"


def tail(note: Dict[str, Any]) -> bytes:
    """A note, to stand behind an image, where readers of images do not look."""
    text = json.dumps(note, separators=(",", ":")).encode()
    return text + len(text).to_bytes(4, "little") + MAGIC


def with_note(image: "Body | npt.NDArray[Any]", note: Dict[str, Any]) -> Body:
    """A frame with a note behind it; an array becomes an NPY file."""
    if isinstance(image, Body):
        return _native.joined(b"", np.asarray(image), tail(note))
    return _codec.raw(image, tail(note))


def note_of(body: Body) -> Tuple[Body, Dict[str, Any]]:
    """The frame and the note behind it; what came from elsewhere has none."""
    length = len(body)
    end = body.part(max(0, length - 12), length).tobytes()
    if len(end) < 12 or end[4:] != MAGIC:
        return body, {}
    begin = length - 12 - int.from_bytes(end[:4], "little")
    if begin < 0:
        return body, {}
    try:
        note = json.loads(body.part(begin, length - 12).tobytes())
    except (ValueError, RecursionError):  # a peer's
        return body, {}
    return body.part(0, begin), note if isinstance(note, dict) else {}

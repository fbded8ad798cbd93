"""What became of everything, in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List


def _frames(count: int) -> str:
    return "1 frame is" if count == 1 else f"{count} frames are"


@dataclass(frozen=True)
class SpoolFigures:
    """What a spool holds."""

    memory_frames: int
    """Frames in memory that are not on disk."""
    memory_bytes: int
    disk_frames: int
    """Frames on disk, those of other sources that an earlier sender left among them."""
    disk_bytes: int
    dropped: int
    """Frames that were dropped because it was full, since it was opened; they are declared."""
    found: int
    """Frames that earlier senders had left in it when it was opened."""


@dataclass(frozen=True)
class SendReport:
    """What became of the frames of a sender. ``details`` has all fields of ``framelane send --json`` (docs/json.md)."""

    complete: bool
    """True where every frame is stored, or was dropped because that is wanted (too late, say); none waits in the spool."""
    sent: int
    """Frames sent and stored."""
    missing: int
    """Frames of which nobody has said what became of them: neither stored nor declared dropped."""
    dropped: int
    """Frames that were declared dropped: too late, too large, refused; ``details`` has the reasons."""
    pending: int
    """Frames that wait in the spool, on disk, for the next sender that names it."""
    spool: SpoolFigures | None
    """What the spool held at the end, where there was one."""
    error: str | None
    """Why the run ended early, in words; every frame may be stored all the same."""
    details: Dict[str, Any] = field(repr=False)

    @staticmethod
    def read(text: str) -> "SendReport":
        details = json.loads(text)
        sources: List[Dict[str, Any]] = details.get("sources", [])
        missing = sum(source.get("missing", 0) for source in sources)
        pending = sum(source.get("pending", 0) for source in sources)
        spool = details.get("spool")
        return SendReport(
            complete=missing == 0 and pending == 0 and not any(source.get("failed") for source in sources),
            sent=sum(source.get("sent", 0) for source in sources),
            missing=missing,
            dropped=sum(sum((source.get("dropped") or {}).values()) for source in sources),
            pending=pending,
            spool=None if spool is None else SpoolFigures(**{one.name: spool[one.name] for one in fields(SpoolFigures)}),
            error=details.get("error"),
            details=details,
        )

    def words(self) -> str:
        """What is not as it should be."""
        failed = [one for source in self.details.get("sources", []) for one in source.get("failed", [])]
        why = self.error
        if why is None:
            why = f"{failed[0]['name']}: {failed[0]['reason']}" if failed else "they were not confirmed"
        said = []
        lost = max(self.missing, len(failed))
        if lost:
            said.append(f"{_frames(lost)} not stored: {why}")
        if self.pending:
            said.append(f"{_frames(self.pending)} in the spool, and sent by the next sender that names it")
        return "; ".join(said) or why


@dataclass(frozen=True)
class ReceiveReport:
    """What a receiver has received. ``details`` has sessions and sources as the library counts them, in which ``stored`` is what was
    stored anew: ``framelane receive --json`` (docs/json.md) has more fields, and there ``stored`` is ``sent + stored_before``."""

    stored: int
    """Frames stored, or taken by the program."""
    bytes: int
    """Their bytes."""
    missing: int
    """Frames that will not come, and that no sender has declared dropped."""
    dropped: int
    """Frames that the senders have declared dropped."""
    details: Dict[str, Any] = field(repr=False)

    @staticmethod
    def read(text: str) -> "ReceiveReport":
        details = json.loads(text)
        return ReceiveReport(
            stored=details.get("stored", 0),
            bytes=details.get("bytes", 0),
            missing=details.get("missing", 0),
            dropped=details.get("dropped", 0),
            details=details,
        )

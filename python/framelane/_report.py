"""What became of everything, in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence


@dataclass(frozen=True)
class SendReport:
    """What became of the frames of a sender. ``details`` has all fields of ``framelane send --json`` (docs/json.md)."""

    complete: bool
    """True where every frame is stored, or declared dropped."""
    sent: int
    """Frames sent and stored."""
    missing: int
    """Frames that are not stored and not declared dropped."""
    dropped: int
    """Frames that were declared dropped, as too late for their deadline; ``details`` has the reasons."""
    error: str | None
    """Why the run ended early, in words; every frame may be stored all the same."""
    details: Dict[str, Any] = field(repr=False)

    @staticmethod
    def read(text: str, pushed: Sequence[str], taken: int) -> "SendReport":
        """``taken`` frames of the sources ``pushed`` were handed over; one that was when the run was ending is in no report."""
        details = json.loads(text)
        sources: List[Dict[str, Any]] = details.get("sources", [])
        missing = sum(source.get("missing", 0) for source in sources)
        known = sum(source.get("frames", 0) for source in sources if source.get("name") in pushed)
        missing += max(0, taken - known)
        return SendReport(
            complete=missing == 0,
            sent=sum(source.get("sent", 0) for source in sources),
            missing=missing,
            dropped=sum(sum((source.get("dropped") or {}).values()) for source in sources),
            error=details.get("error"),
            details=details,
        )

    def words(self) -> str:
        """What is not as it should be."""
        why = self.error
        if why is None:
            failed = [one for source in self.details.get("sources", []) for one in source.get("failed", [])]
            why = f"{failed[0]['name']}: {failed[0]['reason']}" if failed else "they were not confirmed"
        frames = "1 frame is" if self.missing == 1 else f"{self.missing} frames are"
        return f"{frames} not stored: {why}" if self.missing else why


@dataclass(frozen=True)
class ReceiveReport:
    """What a receiver has received. ``details`` has the fields of ``framelane receive --json``."""

    stored: int
    """Frames stored, or taken by the program."""
    bytes: int
    """Their bytes."""
    missing: int
    """Frames that will not come, as the senders say."""
    details: Dict[str, Any] = field(repr=False)

    @staticmethod
    def read(text: str) -> "ReceiveReport":
        details = json.loads(text)
        return ReceiveReport(
            stored=details.get("stored", 0),
            bytes=details.get("bytes", 0),
            missing=details.get("missing", 0),
            details=details,
        )

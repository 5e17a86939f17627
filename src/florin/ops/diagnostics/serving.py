"""Serving: which colour serves, and what is kept as its standby."""

import time
from datetime import UTC, datetime

import msgspec

from florin.ops.fleet.desired_state import DesiredState


class StandbyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The instances that served before a blue-green switch, and how long they are kept."""

    colour: str
    release: str
    names: list[str]
    until: str  # RFC 3339, UTC
    left_s: float


class ServingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which colour and release serve; `standby` is None except after a blue-green switch."""

    colour: str
    release: str
    standby: StandbyStatus | None


def read_serving(kept: DesiredState) -> ServingStatus:
    standby = None
    if kept.standby is not None:
        until = datetime.fromtimestamp(kept.standby.until, UTC)
        standby = StandbyStatus(
            colour=kept.standby.colour,
            release=kept.standby.release,
            names=list(kept.standby.marks),
            until=until.isoformat(timespec="seconds").replace("+00:00", "Z"),
            left_s=round(max(0.0, kept.standby.until - time.time()), 1),
        )
    return ServingStatus(colour=kept.colour, release=kept.release, standby=standby)


def format_serving(serving: ServingStatus) -> list[str]:
    """Return one line about both colours, while there are two."""
    kept = serving.standby
    if kept is None:
        return []
    left = format_span(kept.left_s)
    line = f"Serving: {serving.colour} ({serving.release}). Standby: {kept.colour}"
    line += f" ({kept.release}), kept until {kept.until} ({left} left)."
    return [f"{line} florin rollback returns to it."]


def format_span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"

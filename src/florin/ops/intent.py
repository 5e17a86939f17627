"""Intent: what the operator last asked for and got. Kept beside the data, so that it survives."""

from dataclasses import dataclass

import msgspec

from florin.ops.home import Home, write
from florin.ops.rolling import Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    api: int = 2
    algorithm: str = "roundrobin"
    release: str = ""
    generation: int = 0  # counts deployments; never used twice
    previous: str = ""  # where florin rollback goes

    @property
    def mark(self) -> Mark:
        return Mark(self.release, self.generation)


def read(home: Home) -> Intent:
    try:
        return msgspec.json.decode((home.path / "intent.json").read_bytes(), type=Intent)
    except (OSError, msgspec.DecodeError):
        return Intent()


def keep(home: Home, intent: Intent) -> None:
    write(home.path / "intent.json", msgspec.json.encode(intent))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"api-{number}" for number in range(1, count + 1))

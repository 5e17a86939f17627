"""Saving: backups of the home's own database, and the way back to an instant."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.tell import Unable


def backup(
    keep: Annotated[int, typer.Option(min=1, help="How many are kept, this one included.")] = 2,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the running database and check the copy; from the first one on its log is archived."""
    from florin.ops.engines import backups

    place, members = _own(home)
    made = backups.take(place, members.primary(), keep=keep)
    document = {"backup": str(made.path), "from": made.ended.isoformat()}
    said = f"{made.path}; florin restore --at goes back to {made.ended.isoformat()} or later."
    print(msgspec.json.encode(document).decode() if as_json else said)


def restore(
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="An instant, RFC 3339; else the end.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the database of a stopped fleet to an instant; what was there is kept beside it."""
    from florin.ops.engines import backups
    from florin.ops.observe import observe

    instant = None
    if at is not None:
        try:
            instant = datetime.fromisoformat(at)
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            raise Unable(f"{at} is no instant with its offset, such as 2030-01-01T12:00:00Z.")
    runs = [part.name for part in observe(home_of(home)).parts if part.process is not None]
    if runs:
        raise Unable(f"The fleet runs ({', '.join(runs)}); florin down, then this again.")
    place, members = _own(home)
    primary = members.primary()
    others = [server.data for server in members.others(primary.name).values()]
    before = backups.restore(place, primary, instant, others=others)
    document = {"restored": str(primary.data), "before": str(before), "at": at}
    said = f"Restored. florin up starts it, then florin backup; what was there: {before}."
    print(msgspec.json.encode(document).decode() if as_json else said)


def _own(option: Path | None) -> tuple[Path, Any]:
    """The place of the home's own servers, and the servers. Raises Unable."""
    from florin.ops import secrets
    from florin.ops.engines import account, members, postgres

    home = home_of(option)
    layout = home.layout()
    known = [name for name in layout.ports if name == "postgres" or name.startswith("postgres-")]
    if layout.place is None or not known:
        raise Unable(
            f"{home.path} has no database of its own; a given one is saved by whoever runs it."
        )
    place = Path(layout.place)
    user = account.choose([place / "postgres"])
    own = secrets.load(home)
    servers = {
        name: postgres.embedded(place, layout.ports[port], own, user, name=name)
        for port in known
        for name in [postgres.NAME if port == "postgres" else port]
    }
    return place, members.arranged(home, servers, place)


COMMANDS = (
    ("backup", backup, "florin backup"),
    ("restore", restore, "florin restore --at 2030-01-01T12:00:00Z"),
)

"""Own database: the database servers of a home, which are backed up and restored."""

import os
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError


class OwnDatabase(msgspec.Struct, frozen=True):
    """The database servers of the home, their directory, and the bucket of the backups."""

    place: Path
    members: Any
    bucket: Any


def find_own_database(home: Any, *, restoring: bool = False) -> OwnDatabase:
    """Raises OperatorError if the home has no database and none can be restored from a bucket."""
    from florin.ops.backups.s3 import open_bucket
    from florin.ops.fleet import secrets
    from florin.ops.postgres import replica_set
    from florin.ops.postgres import server as postgres
    from florin.ops.system import os_user

    home.require_own()
    bucket = open_bucket(UpOptions(home=home, environ=os.environ).given)
    layout = home.layout()
    if layout.data_dir is None and restoring and bucket is not None:
        layout = _make(home)
    known = [name for name in layout.ports if name == "postgres" or name.startswith("postgres-")]
    if layout.data_dir is None or not known:
        raise OperatorError(
            f"{home.path} has no database of its own; back up DATABASE_URL with its own tools."
        )
    place = Path(layout.data_dir)
    user = os_user.choose_account([place / "postgres"])
    own = secrets.ensure_secrets(home)
    servers = {
        name: postgres.embedded_postgres(place, layout.ports[port], own, user, name=name)
        for port in known
        for name in [postgres.NAME if port == "postgres" else port]
    }
    return OwnDatabase(place, replica_set.arrange_members(home, servers, place), bucket)


def _make(home: Any) -> Any:
    """Create a home on another machine, for a database whose machine is lost."""
    from dataclasses import replace

    from florin.ops.system import os_user
    from florin.ops.system.ports import free_port

    if not home.secrets.exists():
        raise OperatorError(
            f"Give --secrets FILE, which florin backup --secrets wrote, or put the secrets.json of"
            f" the lost home into {home.path} first: without it neither the database nor any card"
            " code can be opened."
        )
    home.make()
    place, _ = os_user.prepare_account(home.path, None)
    layout = home.layout()
    layout = replace(layout, data_dir=str(place), ports=layout.ports | {"postgres": free_port()})
    home.write_layout(layout)
    return layout

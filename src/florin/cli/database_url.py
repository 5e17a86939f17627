"""Database url: a home's own database, for a command that was given none."""

import os

from florin.ops.fleet.home import Home


def know_engines(home: Home) -> None:
    """Name the home's own database to a command that was given none."""
    from florin.ops.topology.topology import running_urls

    names = ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER", "DATABASE_URL_FILE")
    if not any(os.environ.get(name) for name in names):
        os.environ.update(running_urls(home))

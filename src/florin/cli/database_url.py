"""Database url: the database of the home, for commands without DATABASE_URL."""

import os

from florin.ops.fleet.home import Home


def know_engines(home: Home) -> None:
    """Set the URL of the home's database if no DATABASE_URL is set."""
    from florin.ops.topology.topology import running_urls

    names = ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER", "DATABASE_URL_FILE")
    if not any(os.environ.get(name) for name in names):
        os.environ.update(running_urls(home))

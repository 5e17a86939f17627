"""Startup: the settings of a process that cannot run without them."""

import sys

from florin.kit.settings.settings import InvalidSettings, Settings, read_settings


def settings_of_process() -> Settings | None:
    """Read the settings; print each error to stderr and return None if there are any."""
    try:
        return read_settings()
    except InvalidSettings as error:
        print("\n".join(error.mistakes), file=sys.stderr)
        return None

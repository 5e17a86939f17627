"""WAL archive: the settings with which a server archives its log."""

from pathlib import Path

from florin.ops.system.quoting import postgres_command_word

ARCHIVE_EVERY_S = 30  # every write is archived within this time


def archive_dir(place: Path) -> Path:
    return place / "archive"


def archive_settings(place: Path) -> dict[str, str]:
    """Return the settings for archiving; nothing is archived until a backup creates the archive."""
    folder = postgres_command_word(archive_dir(place))
    # Each member writes its own temporary file: several may archive a segment at the same time.
    part, kept = f"{folder}/.%f.$$.part", f"{folder}/%f.gz"
    # Synced to disk first: the server reuses a segment once the command reports it as archived.
    store = f'gzip -1 -c "%p" > {part} && sync {part} && mv {part} {kept} && sync {folder}'
    return {
        # Replicas archive too: a primary that dies may not have archived its last segments, and
        # its successor with archive_mode "on" would archive only what it writes itself.
        "archive_mode": "always",
        "archive_command": f"test ! -d {folder} || test -f {kept} || ({store})",
        "archive_timeout": f"{ARCHIVE_EVERY_S}s",
    }

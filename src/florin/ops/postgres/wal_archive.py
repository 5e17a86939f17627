"""WAL archive: how a server hands its log to the archive."""

from pathlib import Path

from florin.ops.system.quoting import postgres_command_word

ARCHIVE_EVERY_S = 30  # what was written is handed to the archive by then


def archive_dir(place: Path) -> Path:
    return place / "archive"


def archive_settings(place: Path) -> dict[str, str]:
    """How a server archives its log: nowhere, until a backup has made the archive."""
    folder = postgres_command_word(archive_dir(place))
    # Each member's part is its own: they may store the same segment at the same time.
    part, kept = f"{folder}/.%f.$$.part", f"{folder}/%f.gz"
    # On the disk before the server may forget it: it reuses what it was told is archived.
    store = f'gzip -1 -c "%p" > {part} && sync {part} && mv {part} {kept} && sync {folder}'
    return {
        # By replicas, too: a primary that dies may have had no time for its last segments, and
        # whoever takes over archives only what it writes itself.
        "archive_mode": "always",
        "archive_command": f"test ! -d {folder} || test -f {kept} || ({store})",
        "archive_timeout": f"{ARCHIVE_EVERY_S}s",
    }

"""Releases: the commit of each closed release, which tests of later releases check out.

A commit cannot contain its own hash. So the last commit of a release closes its heading in
CHANGELOG.md and names the commit before it, which ends the code of the release.
"""

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_CLOSED = re.compile(r"(\d+\.\d+\.\d+), \d{4}-\d{2}-\d{2}, commit ([0-9a-f]{40})")
_OPEN = re.compile(r"\d+\.\d+\.\d+, unreleased")


def released_commits(changelog: str) -> dict[str, str]:
    """The full hash of each closed release by its version, newest first. Raises ValueError for a
    heading that is neither `VERSION, DATE, commit HASH` nor `VERSION, unreleased`.
    """
    commits: dict[str, str] = {}
    for heading in _HEADING.findall(changelog):
        closed = _CLOSED.fullmatch(heading)
        if closed is not None:
            commits[closed.group(1)] = closed.group(2)
        elif _OPEN.fullmatch(heading) is None:
            raise ValueError(f"CHANGELOG.md: {heading!r} is not VERSION, DATE, commit HASH")
    return commits

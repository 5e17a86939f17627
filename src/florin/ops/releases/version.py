"""Version: the name of the current code."""

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import florin

_CODE = ("src", "requirements")


def current_version(checkout: Path | None) -> str:
    """Return the commit, with a hash of the content if there are uncommitted changes.

    Without a checkout it is the version with a hash of the installed package.
    """
    if checkout is not None and (checkout / ".git").exists():
        commit = run_git(checkout, "rev-parse", "--short=10", "HEAD")
        if commit is not None:
            changed = run_git(checkout, "status", "--porcelain", "--", *_CODE)
            return commit if changed == "" else f"{commit}+{content_hash(checkout)}"
    if checkout is not None and (checkout / "src").is_dir():
        return f"{florin.__version__}+{content_hash(checkout)}"
    return f"{florin.__version__}+{_hash(Path(florin.__file__).parent, [Path()])}"


def content_hash(checkout: Path) -> str:
    """Return a short hash over the code's files and their names."""
    return _hash(checkout, [Path(top) for top in _CODE])


def _hash(root: Path, tops: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for top in tops:
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def run_git(checkout: Path, *words: str) -> str | None:
    """Run git in the checkout; None when it fails."""
    # The code of this directory runs anyway, so its owner does not matter for reading its name.
    trust = f"safe.directory={checkout}"
    try:
        said = subprocess.run(
            ["git", "-c", trust, "-C", str(checkout), "--no-optional-locks", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None

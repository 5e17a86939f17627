"""Documents: what they point to is there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.releases import released_commits

ROOT = Path(__file__).parents[1]
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as the usual renderers make them."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


def test_every_relative_link_leads_somewhere() -> None:
    dead: list[str] = []
    followed = 0
    for page in documents():
        for link in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
            if re.match(r"[a-z]+:|/", link):
                continue
            followed += 1
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dead.append(f"{page.relative_to(ROOT)}: {link}")
    assert not dead
    assert followed > 30


def test_every_page_is_reached_from_the_start() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_file():
                ahead.append(target)
    assert {page.resolve() for page in (ROOT / "docs").rglob("*.md")} <= reached


def test_a_release_is_closed_with_its_commit() -> None:
    newest, older = "a" * 40, "b" * 40
    headings = f"## 0.3.0, unreleased\n\n## 0.2.0, 2027-01-31, commit {newest}\n"
    headings += f"\n### Added\n\n## 0.1.0, 2026-11-29, commit {older}\n"
    assert released_commits(headings) == {"0.2.0": newest, "0.1.0": older}
    for wrong in ("0.1.0", "0.1.0, 2026-11-29", "0.1.0, 2026-11-29, commit abc", "Unreleased"):
        with pytest.raises(ValueError, match="is not VERSION"):
            released_commits(f"## {wrong}\n")


def test_the_commit_of_every_closed_release_can_be_checked_out() -> None:
    commits = released_commits((ROOT / "CHANGELOG.md").read_text("utf-8"))
    trust = f"safe.directory={ROOT}"
    git = ["git", "-c", trust, "-C", str(ROOT)]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    shallow = [*git, "rev-parse", "--is-shallow-repository"]
    if subprocess.run(shallow, capture_output=True, text=True, check=False).stdout == "true\n":
        pytest.skip("a shallow clone has no earlier commits; `git fetch --unshallow` gets them")
    for version, commit in commits.items():
        shown = [*git, "cat-file", "-e", f"{commit}:src/florin/app.py"]
        found = subprocess.run(shown, capture_output=True, text=True, check=False)
        assert found.returncode == 0, (version, commit, found.stderr)

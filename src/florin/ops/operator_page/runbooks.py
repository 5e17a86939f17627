"""Runbooks: the pages of docs/operations/runbooks, readable while everything else is down."""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

_NAME = re.compile(r"[A-Za-z0-9-]{1,60}")
_OTHER_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z0-9-]+\.md\))[^)]*\)")
_RUNBOOK_LINK = re.compile(r"\]\(([a-z0-9-]+)\.md\)")


@cache
def _folder() -> Traversable | None:
    """Return the folder in the installed package, else in the checkout that holds this file."""
    packed = files("florin").joinpath("runbooks")
    if packed.is_dir():
        return packed
    checkout = Path(__file__).parents[4] / "docs" / "operations" / "runbooks"
    return checkout if checkout.is_dir() else None


@cache
def read_runbook(name: str) -> tuple[str, Markup] | None:
    """Return the title and the HTML of a runbook; None if there is none of this name.

    Links to other runbooks are kept; other documents are not served, so their names stay as text.
    """
    folder = _folder()
    if folder is None or not _NAME.fullmatch(name):
        return None
    try:
        text = folder.joinpath(f"{name}.md").read_text("utf-8")
    except OSError:
        return None
    text = _RUNBOOK_LINK.sub(r"](/operator/runbooks/\1)", _OTHER_LINK.sub(r"\1", text))
    title = text.partition("\n")[0].lstrip("# ").strip()
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return title, Markup(html)  # noqa: S704 -- without HTML of the text itself

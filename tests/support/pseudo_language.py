"""Pseudo-language: a copy of Florin with one language more, in which each text is marked.

The language is Esperanto, as its numbers and dates are known; a text is its English with marks
around it. What a page then shows without marks was never looked up in a catalogue.
"""

import io
import os
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

LANGUAGE = "eo"
_BEGIN, _END = "⟦", "⟧"
_MARKED = re.compile(f"{_BEGIN}[^{_BEGIN}{_END}]*{_END}")
_CARD = re.compile(r"•+ [0-9A-Z]{4}")  # the end of a code
_SHOWN = ("aria-label", "alt", "title", "placeholder", "data-busy", "data-done", "data-now")
_SILENT = {"script", "style", "svg", "code", "option"}


def copy_with_pseudo_language(folder: Path) -> Path:
    """Make the copy, of links to the files of this checkout; return what to put on the path."""
    source = Path(__file__).parents[2] / "src" / "florin"
    shutil.copytree(
        source,
        folder / "florin",
        copy_function=os.symlink,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    german = files("florin").joinpath("web", "locales", "de", "florin.po").read_bytes()
    marked = Catalog(locale=LANGUAGE)
    for message in read_po(io.BytesIO(german), locale="de"):
        if message.id:
            marked.add(message.id, _mark(message.id))
    place = folder / "florin" / "web" / "locales" / LANGUAGE
    place.mkdir()
    with (place / "florin.po").open("wb") as file:
        write_po(file, marked)
    return folder


def find_unmarked(html: str, data: set[str]) -> list[str]:
    """The texts of a page that are not marked, and neither `data` nor an amount, date or code."""
    reader = _TextReader()
    reader.feed(html)
    return [text for text in map(str.strip, reader.texts) if not _is_known(text, data)]


def _mark(text: str | tuple[str, ...] | list[str]) -> str | tuple[str, ...]:
    if isinstance(text, str):
        return f"{_BEGIN}{text}{_END}"
    return tuple(f"{_BEGIN}{each}{_END}" for each in text)


def _is_known(text: str, data: set[str]) -> bool:
    rest = _CARD.sub(" ", text)
    while _MARKED.search(rest):
        rest = _MARKED.sub(" ", rest)  # from within: a marked text may hold another one
    for each in sorted(data, key=len, reverse=True):
        rest = rest.replace(each, " ")
    letters = re.search(r"[^\W\d_]", rest)
    return letters is None or re.search(r"\d", rest) is not None


class _TextReader(HTMLParser):
    """Collects what people see or hear of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        self.texts += [value for name, value in attrs if name in _SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.texts.append(data)

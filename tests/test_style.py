"""Style: the words that STYLE.md replaces are rare. The limit only ever falls."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
AVOIDED = re.compile(
    r"\b(told|tell|tells|somebody|nobody|beside|whoever|whatever)\b", re.IGNORECASE
)
LIMIT = 60
_TEXT = {".py", ".sql", ".md", ".lua", ".html", ".txt", ".toml", ".yaml", ".yml", ".sh", ""}
_EXEMPT = {Path("STYLE.md"), Path("tests/test_style.py")}  # they name the words


def texts() -> list[Path]:
    found = [
        *ROOT.glob("*.md"),
        *(path for folder in ("src", "docs", "tests") for path in (ROOT / folder).rglob("*")),
    ]
    return sorted(
        path
        for path in found
        if path.is_file()
        and path.suffix in _TEXT
        and path.relative_to(ROOT) not in _EXEMPT
        and "__pycache__" not in path.parts
    )


def test_avoided_words_are_rare() -> None:
    counts = {
        str(path.relative_to(ROOT)): len(AVOIDED.findall(path.read_text("utf-8", "replace")))
        for path in texts()
    }
    assert len(counts) > 500
    most = sorted(((n, path) for path, n in counts.items() if n), reverse=True)
    assert sum(counts.values()) <= LIMIT, most[:20]

"""Style: the words that STYLE.md replaces are rare, in text and in names. The limit only falls."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
AVOIDED = re.compile(
    r"\b(told|tell|tells|somebody|nobody|beside|whoever|whatever)\b", re.IGNORECASE
)
LIMIT = 20  # stable names: the benchmark `beside`, the system user `nobody`
_TEXT = {".py", ".sql", ".md", ".lua", ".html", ".txt", ".toml", ".yaml", ".yml", ".sh", ""}
_EXEMPT = {Path("STYLE.md"), Path("tests/test_style.py")}  # they name the words
# A name with one of these words does not say what it holds or does.
EMPTY = {
    *("service", "manager", "helper", "util", "handler", "processor", "base"),
    *("managers", "helpers", "utils", "handlers", "processors"),
}
TERMS = {  # of others
    "base_backup": "PostgreSQL",
    "base_urls": "a URL that paths are added to",
    "exception_handlers": "Litestar",
    "secret_managers": "the products",
    "SecretManagerSettings": "the products",
    "SecretManagerUnreachable": "the products",
}
RIDDLES = {"belt", "deaf", "found", "hand", "hands", "live", "said", "wake"}


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


def definitions(tree: ast.Module) -> set[str]:
    """Return the names of types, functions and methods."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def variables(tree: ast.Module) -> Iterator[str]:
    """Yield the names of parameters, fields and attributes, which other code uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                yield argument.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_names_say_what_they_hold() -> None:
    wrong, count = list[str](), 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        defined = definitions(tree) | {path.stem}
        words = {
            name: set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_"))
            for name in defined - TERMS.keys()
        }
        count += len(defined)
        found = [name for name in words if words[name] & EMPTY]
        found += [name for name in (*defined, *variables(tree)) if name.strip("_") in RIDDLES]
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in found]
    assert count > 2000
    assert wrong == []

"""The table of requirements in docs/operations/payments.md: complete, and each test exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = 41  # of selling, each drawn from a failure of another system


def test_every_requirement_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "operations" / "payments.md").read_text("utf-8")
    covered: set[int] = set()
    for line in page.splitlines():
        if not re.match(r"\| R\d", line):
            continue
        what, named = (cell.strip() for cell in line.strip("| ").split(" | "))
        covered |= _numbers(what.partition(":")[0])
        names = re.findall(r"`([^`]+)`", named)
        assert names, line
        file = ""
        for name in names:
            path, _, test = name.partition("::")
            file = path or file
            source = ROOT / file
            assert source.is_file(), f"{file} is no file: {line}"
            if test:
                assert test in _functions(source.read_text("utf-8")), f"no {test} in {file}"
    assert covered == set(range(1, REQUIREMENTS + 1))


def _numbers(text: str) -> set[int]:
    """R4, R6: these two; with a dash between them: also those between."""
    found: set[int] = set()
    for first, last in re.findall(r"R(\d+)(?:\u2013R(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _functions(source: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

"""The image's context and the pipeline, as far as reading them goes."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]
NOT_IN_IMAGE = {"faker", "polyfactory", "pygments"}


def test_what_the_image_copies_is_there_and_nothing_else_is_sent() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text("utf-8").split()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    text = (CHECKOUT / "deploy" / "Dockerfile").read_text("utf-8")
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    copied = {source for each in copies for source in each.split()}
    assert copied == allowed
    assert all((CHECKOUT / each).exists() for each in copied)
    assert "USER 10001:10001" in text.rpartition("FROM")[2]
    assert "--require-hashes" in text


def test_the_pipeline_may_only_read_and_runs_what_a_developer_runs() -> None:
    said: Any = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert said["permissions"] == {"contents": "read"}
    steps = [step for job in said["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "uses" in step:
            assert re.search(r"@[0-9a-f]{40}$", step["uses"])  # a tag can be moved
    run = [step["run"] for step in steps if "run" in step]
    assert {"bin/check", "bin/test"} <= set(run)
    assert all("permissions" not in job for job in said["jobs"].values())


def test_the_image_has_every_package_that_a_module_needs_when_it_is_imported() -> None:
    """The build imports every module but the benchmarks; this finds what is missing without one."""
    lock = (CHECKOUT / "requirements" / "core.txt").read_text("utf-8")
    held = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)) - NOT_IN_IMAGE
    makers = packages_distributions()
    needed = set[str]()
    for file in (CHECKOUT / "src" / "florin").rglob("*.py"):
        if "bench" not in file.parts:
            needed |= set(imported_at_once(ast.parse(file.read_text("utf-8")).body))
    others = needed - set(sys.stdlib_module_names) - {"florin"}
    assert len(others) > 15
    makes = {
        name: {re.sub(r"[-_.]+", "-", each).lower() for each in makers[name]} for name in others
    }
    assert {name for name, each in makes.items() if not each & held} == set()


def imported_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """Return the first word of each module that these statements import, functions aside."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (each.name.partition(".")[0] for each in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If(body=inner, orelse=other) | ast.Try(body=inner, orelse=other):
                yield from imported_at_once([*inner, *other])
            case _:
                pass

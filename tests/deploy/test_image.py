"""The image's context and the pipeline, as far as reading them goes."""

import re
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]


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

"""The pipeline: least rights, pinned actions, scripts that exist, and its jobs run on this host."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
WORKFLOWS = CHECKOUT / ".github" / "workflows"
BIN = Path(sys.executable).parent
IMAGE = "registry.example.com/florin@sha256:" + "a" * 64
RIGHTS = {  # what a job may do beyond reading
    "deploy.publish": {"contents": "read", "packages": "write"},
    "deploy.production": {"contents": "read"},
    "release.release": {
        "contents": "write",
        "packages": "write",
        "id-token": "write",
        "attestations": "write",
    },
}


def workflows() -> dict[str, Any]:
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in WORKFLOWS.glob("*.yml")}


def run(words: list[str], cwd: Path = CHECKOUT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_jobs_have_the_least_rights() -> None:
    assert set(workflows()) == {"ci", "deploy", "release"}
    for name, flow in workflows().items():
        assert flow["permissions"] in ({}, {"contents": "read"})
        assert "pull_request_target" not in flow[True]  # YAML reads `on` as true
        assert flow["concurrency"]["cancel-in-progress"] is (name == "ci")
        for job, body in flow["jobs"].items():
            assert body.get("permissions") == RIGHTS.get(f"{name}.{job}"), (name, job)
            assert body["timeout-minutes"] <= 60


def test_only_main_is_deployed_and_only_after_an_approval() -> None:
    jobs = workflows()["deploy"]["jobs"]
    assert all(job["if"] == "github.ref == 'refs/heads/main'" for job in jobs.values())
    assert jobs["production"]["environment"] == "production"
    assert jobs["production"]["needs"] == ["publish"]
    assert workflows()["ci"]["jobs"]["rehearsal"]["needs"] == ["image"]


def test_actions_are_pinned_and_every_script_exists() -> None:
    steps = [
        step
        for flow in workflows().values()
        for job in flow["jobs"].values()
        for step in job["steps"]
    ]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
        for script in re.findall(r"(?:deploy/ci|bin)/[a-z.]+", step.get("run", "")):
            path = CHECKOUT / script
            assert os.access(path, os.X_OK), script
            assert "\nset -eu\n" in path.read_text("utf-8"), script
        # Text of strangers goes into scripts by the environment only.
        assert "${{" not in step.get("run", "")


def test_a_release_signs_the_provenance_of_what_it_publishes() -> None:
    steps = workflows()["release"]["jobs"]["release"]["steps"]
    signed = [
        (at, step["with"])
        for at, step in enumerate(steps)
        if step.get("uses", "").startswith("actions/attest-build-provenance@")
    ]
    [(_, image), (last, files)] = signed
    assert image["subject-digest"] == "${{ steps.push.outputs.digest }}"
    assert files["subject-path"] == "release/*"
    [published] = [at for at, step in enumerate(steps) if "gh release" in step.get("run", "")]
    assert last < published


def test_the_checkers_find_nothing_and_would_find_something(tmp_path: Path) -> None:
    script = CHECKOUT / "deploy" / "ci" / "workflows.sh"
    said = run([str(script)], PYTHON=sys.executable)
    assert said.returncode == 0, said.stdout + said.stderr
    copy = tmp_path / "checkout"
    shutil.copytree(WORKFLOWS, copy / ".github" / "workflows")
    for name in ("ci", "patroni"):
        shutil.copytree(CHECKOUT / "deploy" / name, copy / "deploy" / name)
    shutil.copy(CHECKOUT / "deploy" / "Dockerfile", copy / "deploy")
    flow = copy / ".github" / "workflows" / "ci.yml"
    good = flow.read_text("utf-8")
    flow.write_text(re.sub(r"@[0-9a-f]{40}", "@v4", good), "utf-8")
    said = run([str(copy / "deploy/ci/workflows.sh")], cwd=copy, PYTHON=sys.executable)
    assert said.returncode != 0
    assert "unpinned" in said.stdout
    flow.write_text(good.replace("needs: [image]", "needs: [build]"), "utf-8")
    said = run([str(copy / "deploy/ci/workflows.sh")], cwd=copy, PYTHON=sys.executable)
    assert said.returncode != 0
    assert 'job "build" which does not exist' in said.stdout
    flow.write_text(good, "utf-8")
    image = copy / "deploy" / "Dockerfile"
    image.write_text(image.read_text("utf-8") + "RUN cd /tmp && sudo true\n", "utf-8")
    said = run([str(copy / "deploy/ci/workflows.sh")], cwd=copy, PYTHON=sys.executable)
    assert said.returncode != 0
    assert "DL3004" in said.stdout


def _recorder(path: Path, answer: str = "") -> None:
    path.write_text(f'#!/bin/sh\necho "$0 $*" >>"$RECORD"\n{answer}\n', "utf-8")
    path.chmod(0o755)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A commit with the workflows, and scripts that only record how they are called."""
    copy = tmp_path / "checkout"
    shutil.copytree(WORKFLOWS, copy / ".github" / "workflows")
    (copy / "deploy" / "ci").mkdir(parents=True)
    for name in ("image", "scan", "publish", "production"):
        _recorder(copy / "deploy" / "ci" / f"{name}.sh")
    _recorder(copy / "deploy" / "ci" / "publish.sh", f'echo "{IMAGE}" >"$3"')
    (tmp_path / "bin").mkdir()
    _recorder(tmp_path / "bin" / "docker", "cat >/dev/null")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
        assert run([*git, *words], cwd=copy).returncode == 0
    return copy


def _act(copied: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a workflow with act, directly on this host; return what the scripts recorded."""
    home = copied.parent
    record = home / "record"
    variables = {"REGISTRY": "registry.example.com", "REPOSITORY": "registry.example.com/florin"}
    variables["PUBLIC_URL"] = "https://cards.example.com"
    said = run(
        [
            *(str(BIN / "act"), "workflow_dispatch", "-W", ".github/workflows/deploy.yml"),
            *("-P", "ubuntu-24.04=-self-hosted", "--actor", "alice"),
            *(word for name, value in variables.items() for word in ("--var", f"{name}={value}")),
            *("-s", "GITHUB_TOKEN=token", "-s", "KUBECONFIG_TEXT=config"),
            *(f"--env=RECORD={record}", f"--env=PATH={home / 'bin'}:{os.environ['PATH']}"),
            *words,
        ],
        cwd=copied,
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_CONFIG_HOME=str(home / "config"),
    )
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    return said, [line.rpartition("/")[2] if "docker" in line else line for line in lines]


def test_the_deployment_runs_on_this_host_in_order(copied: Path) -> None:
    said, recorded = _act(copied)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-2000:]
    assert recorded == [
        "deploy/ci/image.sh florin:production",
        "deploy/ci/scan.sh florin:production sbom.json",
        "docker login --username alice --password-stdin registry.example.com",
        "deploy/ci/publish.sh florin:production registry.example.com/florin reference",
        f"deploy/ci/production.sh {IMAGE}",
    ]


def test_nothing_is_deployed_after_a_failed_scan(copied: Path) -> None:
    _recorder(copied / "deploy" / "ci" / "scan.sh", "exit 1")
    said, recorded = _act(copied)
    assert said.returncode != 0
    assert not [line for line in recorded if "publish" in line or "production.sh" in line]


def test_another_branch_is_not_deployed(copied: Path) -> None:
    assert run(["git", "switch", "-q", "-c", "other"], cwd=copied).returncode == 0
    _, recorded = _act(copied)
    assert recorded == []


@contextmanager
def _site(statuses: list[int]) -> Generator[str]:
    """Answer with these statuses in turn, then with the last."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("statuses", "code", "commands"),
    [
        ([200], 0, ["deploy"]),
        ([200, 200, 503, 200], 1, ["deploy", "rollback"]),
        ([503], 1, ["deploy", "rollback"]),
    ],
)
def test_production_rolls_back_what_does_not_serve(
    tmp_path: Path, statuses: list[int], code: int, commands: list[str]
) -> None:
    _recorder(tmp_path / "florin")
    record = tmp_path / "record"
    with _site(statuses) as url:
        said = run(
            [str(CHECKOUT / "deploy/ci/production.sh"), IMAGE],
            FLORIN=str(tmp_path / "florin"),
            RECORD=str(record),
            PUBLIC_URL=url,
        )
    assert said.returncode == code, said.stderr
    lines = [line.split(" ", 1)[1] for line in record.read_text("utf-8").splitlines()]
    assert [line.split()[0] for line in lines] == commands
    assert lines[0] == f"deploy --blue-green --release {IMAGE} --target kubernetes"


def test_production_stops_when_the_deployment_fails_and_takes_no_tag(tmp_path: Path) -> None:
    _recorder(tmp_path / "florin", "exit 1")
    script, own = str(CHECKOUT / "deploy/ci/production.sh"), str(tmp_path / "florin")
    environ = {
        "FLORIN": own,
        "RECORD": str(tmp_path / "record"),
        "PUBLIC_URL": "http://127.0.0.1:1",
    }
    assert run([script, IMAGE], CHECKOUT, **environ).returncode == 1
    assert len((tmp_path / "record").read_text("utf-8").splitlines()) == 1
    assert run([script, "registry.example.com/florin:1"], CHECKOUT, **environ).returncode == 2


def test_a_release_has_the_notes_of_its_version_only(tmp_path: Path) -> None:
    script = str(CHECKOUT / "deploy/ci/release.sh")
    unreleased = re.findall(
        r"^## (\S+), unreleased", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert run([script, f"v{unreleased[0]}", str(tmp_path / "a")]).returncode == 1
    said = run([script, "v9.9.9", str(tmp_path / "b")])
    assert said.returncode == 1
    assert "has no section for 9.9.9" in said.stderr

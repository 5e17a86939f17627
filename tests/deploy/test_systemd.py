"""The units of systemd: valid, hardened, in time, and an upgrade that goes back by itself.

No systemd runs here: `systemd-analyze` reads the units, and the upgrade runs with a `systemctl` of
the test, whose instances are real HTTP servers.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from florin.cli.commands import app
from florin.kit.queue.worker import FINISH_WITHIN_S, WRITE_WITHIN_S
from florin.kit.settings import variable_names
from florin.ops.fleet.cluster_timing import CLUSTER
from florin.ops.fleet.timing import DEFAULT
from tests.support.ports import free_port

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = ("florin-api@", "florin-worker@", "florin-operator", "florin-migrate")
EXPOSURE_MOST = 2.0  # of 10; systemd calls everything below 2.5 "OK"


def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    return found


def service(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit's service, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def environment(name: str) -> dict[str, str]:
    words = " ".join(service(name).get("Environment", [])).split()
    return dict(word.split("=", 1) for word in words)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as install.sh puts them, with programs that exist."""
    units = tmp_path / "units"
    units.mkdir()
    for name in SERVICES:
        text = (UNITS / f"{name}.service").read_text("utf-8")
        text = re.sub(r"/opt/florin/(current|next)/bin/florin", "/bin/true", text)
        text = text.replace("User=florin", "User=daemon").replace("Group=florin", "Group=daemon")
        text = text.replace("/etc/florin/florin.env", "/etc/os-release")
        text = text.replace("file:/usr/share/doc/florin/systemd.md", "man:systemd(1)")
        (units / f"{name}.service").write_text(text, "utf-8")
        folder = units / f"{name}.service.d"
        folder.mkdir()
        shutil.copy(UNITS / "hardening.conf", folder)
    shutil.copy(UNITS / "florin.target", units)
    return units


def run(words: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )


def test_systemd_accepts_the_units(installed: Path) -> None:
    names = [f"{name.replace('@', '@8000')}.service" for name in SERVICES]
    said = run(
        [analyze(), "verify", "--man=no", *(str(installed / name) for name in names)],
        SYSTEMD_UNIT_PATH=f"{installed}:",
    )
    mistakes = [line for line in said.stderr.splitlines() if str(installed) in line]
    assert "\n".join(mistakes) == ""


def test_a_misspelt_line_is_found(installed: Path) -> None:
    unit = installed / "florin-operator.service"
    unit.write_text(unit.read_text("utf-8").replace("Restart=always", "Restrat=always"), "utf-8")
    said = run([analyze(), "verify", "--man=no", str(unit)], SYSTEMD_UNIT_PATH=f"{installed}:")
    assert "Restrat" in said.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_may_do_little(installed: Path, name: str) -> None:
    said = run(
        [
            *(analyze(), "security", "--offline=true", "--no-pager"),
            f"--threshold={EXPOSURE_MOST * 10:.0f}",
            str(installed / f"{name.replace('@', '@8000')}.service"),
        ],
        SYSTEMD_UNIT_PATH=f"{installed}:",
    )
    found = re.search(r"Overall exposure level .*: ([\d.]+)", said.stdout)
    assert found, said.stdout + said.stderr
    assert float(found[1]) <= EXPOSURE_MOST
    assert said.returncode == 0


@pytest.mark.parametrize("name", SERVICES)
def test_variables_and_credentials_agree(name: str) -> None:
    known = {*variable_names(), *(f"{each}_FILE" for each in variable_names())}
    assert environment(name).keys() <= known
    loaded = dict(each.split(":", 1) for each in service(name).get("LoadCredential", []))
    files = {k: v for k, v in environment(name).items() if k.endswith("_FILE")}
    assert files == {f"{each}_FILE": f"%d/{each}" for each in loaded}
    assert all(path == f"/etc/florin/secrets/{each}" for each, path in loaded.items())
    assert ("DATABASE_URL_OWNER" in loaded) == (name == "florin-migrate")
    command = service(name)["ExecStart"][0].split()[1]
    assert command in {one.name for one in app.registered_commands}


def test_the_settings_exist() -> None:
    lines = (UNITS / "florin.env").read_text("utf-8").splitlines()
    given = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert given <= set(variable_names())


def test_a_stop_takes_as_long_as_the_timing_model_says() -> None:
    stops = {name: int(service(name).get("TimeoutStopSec", ["0"])[0]) for name in SERVICES}
    assert stops["florin-api@"] == DEFAULT.stop_grace_s
    assert stops["florin-worker@"] == CLUSTER.worker_grace_s > FINISH_WITHIN_S + WRITE_WITHIN_S
    assert stops["florin-operator"] == CLUSTER.worker_grace_s
    assert int(service("florin-migrate")["TimeoutStartSec"][0]) == CLUSTER.migration_s
    for name in SERVICES[:3]:
        assert service(name)["Restart"] == ["always"]
        assert service(name)["StartLimitIntervalSec"] == ["0"]  # it never gives up
        assert service(name)["KillSignal"] == ["SIGTERM"]


def test_hardening_covers_what_matters() -> None:
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] -- names keep their case
    parser.read(UNITS / "hardening.conf")
    given = parser["Service"]
    for name in ("NoNewPrivileges", "PrivateUsers", "ProtectHome", "RestrictNamespaces"):
        assert given[name] == "yes"
    assert given["CapabilityBoundingSet"] == ""
    assert given["ProtectSystem"] == "strict"


SYSTEMCTL = """\
#!{python}
# Starts, for each instance that is restarted, an HTTP server that serves what its release says.
import os, pathlib, signal, subprocess, sys, time
state = pathlib.Path(os.environ["STATE"])
words = [word for word in sys.argv[1:] if not word.startswith("--")]
with (state / "log").open("a") as log:
    log.write(" ".join(words) + "\\n")
verb, units = words[0], words[1:]
if verb == "list-units":
    stem = units[0].rstrip("*")
    print("\\n".join(u + " loaded" for u in os.environ["UNITS"].split() if u.startswith(stem)))
elif verb == "start" and (state / "no-migration").exists():
    sys.exit(1)
elif verb == "restart" and "api@" in units[0]:
    port = units[0].partition("@")[2].partition(".")[0]
    pid = state / port
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
        time.sleep(0.2)
    folder = pathlib.Path(os.environ["ROOT"], "opt/florin/current").resolve()
    child = subprocess.Popen(
        [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "-d", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    pid.write_text(str(child.pid))
"""


class UpgradeRig:
    """A root with releases, and a systemctl whose instances serve their release's files."""

    def __init__(self, folder: Path) -> None:
        self.florin = folder / "opt" / "florin"
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        (self.florin / "releases").mkdir(parents=True)
        self.ports = (free_port(), free_port())
        program = folder / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(SYSTEMCTL.replace("{python}", sys.executable), "utf-8")
        program.chmod(0o755)
        units = [f"florin-api@{port}.service" for port in self.ports]
        self.environ = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "ROOT": str(folder),
            "STATE": str(self.state),
            "UNITS": " ".join([*units, "florin-worker@1.service", "florin-operator.service"]),
            "READY_WITHIN_S": "4",
        }

    def release(self, name: str, *, ready: bool = True) -> None:
        folder = self.florin / "releases" / name / "health"
        folder.mkdir(parents=True)
        if ready:
            (folder / "ready").write_text(name, "utf-8")
        link = self.florin / "next"
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{name}")

    def upgrade(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.state / "log").unlink(missing_ok=True)
        return run([str(UNITS / "upgrade.sh"), *words], **self.environ)

    def current(self) -> str:
        return (self.florin / "current").readlink().name

    def log(self) -> list[str]:
        return (self.state / "log").read_text("utf-8").splitlines()


@pytest.fixture
def rig(tmp_path: Path):
    made = UpgradeRig(tmp_path)
    yield made
    for port in made.ports:
        pid = made.state / str(port)
        if pid.exists():
            os.kill(int(pid.read_text("utf-8")), 9)


def test_an_upgrade_migrates_first_and_replaces_one_by_one(rig: UpgradeRig) -> None:
    rig.release("one")
    assert rig.upgrade().returncode == 0
    assert rig.log() == [
        "start florin-migrate.service",
        "daemon-reload",
        "enable florin.target",
    ]
    rig.release("two")
    said = rig.upgrade()
    assert said.returncode == 0, said.stderr
    assert rig.current() == "two"
    verbs = [each for each in rig.log() if not each.startswith("list-units")]
    assert verbs == [
        "start florin-migrate.service",
        "daemon-reload",
        *(f"restart florin-api@{port}.service" for port in rig.ports),
        "restart florin-worker@1.service",
        "is-active florin-worker@1.service",
        "restart florin-operator.service",
        "is-active florin-operator.service",
    ]
    assert rig.upgrade("--back").returncode == 0
    assert rig.current() == "one"
    assert "start florin-migrate.service" not in rig.log()


def test_an_upgrade_goes_back_when_an_instance_does_not_become_ready(rig: UpgradeRig) -> None:
    rig.release("one")
    rig.upgrade()
    rig.release("two", ready=False)
    said = rig.upgrade()
    assert said.returncode == 1
    assert "did not become ready within 4 s" in said.stderr
    assert rig.current() == "one"
    # The second instance was not touched before the first one served again.
    restarts = [each for each in rig.log() if each.startswith("restart florin-api")]
    first, second = (f"restart florin-api@{port}.service" for port in rig.ports)
    assert restarts == [first, first, second]


def test_nothing_is_replaced_when_the_migration_fails(rig: UpgradeRig) -> None:
    rig.release("one")
    rig.upgrade()
    rig.release("two")
    (rig.state / "no-migration").touch()
    said = rig.upgrade()
    assert said.returncode == 1
    assert "The migration failed, and nothing was changed" in said.stderr
    assert rig.current() == "one"
    assert not any(each.startswith("restart") for each in rig.log())

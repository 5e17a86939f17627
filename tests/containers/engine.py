"""Engine: a Docker engine of the tests' own, with its own directory and socket, ended by its pid.

By default it makes no bridge and no firewall rules, so nothing of the machine changes: containers
share the host's network, and listen on loopback. Compose and Swarm need networks: their engine
runs in a network namespace of its own, where its bridges and rules are.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
# Fetched once: the programs are 80 MB, the base 180 MB.
KEPT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "florin" / "containers"
_STAND_INS = Path(__file__).parent / "stand_ins"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_OLDEST = 25  # the first engine whose health checks have a start interval
_FREE_BYTES = 6_000_000_000
_STARTS_WITHIN_S = 60
_FETCHED_WITHIN_S = 600
# Of the range for benchmarks: the ranges for documentation are in use in some sandboxes.
_OUTER_HOST, _NAMESPACE_HOST = "198.18.21.1", "198.18.21.2"


class EngineUnavailable(Exception):
    """No engine can be started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine; `environ` makes `docker` and the scripts in deploy/ci use it."""

    place: Path
    environ: Mapping[str, str]
    host: str = "127.0.0.1"  # where published ports are

    def docker(
        self, *words: str, fails: bool = False, within_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker` with these words; unless it `fails`, it must not."""
        return self.run(["docker", *words], fails=fails, within_s=within_s)

    def run(
        self,
        command: list[str],
        *,
        fails: bool = False,
        within_s: float = 300,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; its exit code must be 0, or another if it `fails`."""
        done = subprocess.run(
            command,
            env={**self.environ, **(environ or {})},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        said = f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert (done.returncode != 0) == fails, said[-4000:]
        return done


@contextmanager
def running_engine(
    place: Path | None = None, *, namespace: str | None = None, host: str | None = None
) -> Generator[Engine]:
    """Start an engine. Raises EngineUnavailable.

    `place` has the images of an engine that ran there before, and stays; without it the engine has
    a directory that is removed. In a network `namespace`, whose address is `host`, it makes bridges
    and rules.
    """
    if os.geteuid() != 0:
        raise EngineUnavailable("an engine starts as root only")
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < _FREE_BYTES:
        raise EngineUnavailable(f"images need {_FREE_BYTES / 1e9:.0f} GB free in {folder}")
    programs = _programs()
    kept = place is not None
    place = place or Path(tempfile.mkdtemp(prefix="florin-engine-"))
    try:
        environ = _environ(programs, place)
        inside = host or _NAMESPACE_HOST
        engine = Engine(place, environ, inside if namespace else "127.0.0.1")
        process = _start(engine, namespace)
        try:
            _wait_until_started(engine, process)
            yield engine
        finally:
            _stop(process)
    finally:
        _unmount(place)
        if not kept:
            shutil.rmtree(place)


def _environ(programs: Path, place: Path) -> dict[str, str]:
    plugins = place / "config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for plugin in (programs / "usr/libexec/docker/cli-plugins").glob("docker-*"):
        if not (plugins / plugin.name).is_symlink():
            (plugins / plugin.name).symlink_to(plugin)
    return {
        **os.environ,
        "PATH": f"{programs}/usr/sbin:{programs}/usr/bin:{os.environ.get('PATH', os.defpath)}",
        "DOCKER_HOST": f"unix://{place}/socket",
        "DOCKER_CONFIG": f"{place}/config",
    }


def _start(engine: Engine, namespace: str | None) -> subprocess.Popen[bytes]:
    place, environ = engine.place, dict(engine.environ)
    command = ["dockerd", "--data-root", f"{place}/data", "--exec-root", f"{place}/exec"]
    command += ["--pidfile", f"{place}/pid", "--host", environ["DOCKER_HOST"]]
    if namespace is None:
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    else:
        # `ip netns exec` would mount /sys again, without the control groups of devices.
        command = ["nsenter", f"--net=/run/netns/{namespace}", *command]
        libraries = next((_programs() / "usr/lib").glob("*/xtables"), None)
        if libraries is not None and shutil.which("iptables") is None:
            environ |= {"LD_LIBRARY_PATH": str(libraries.parent), "XTABLES_LIBDIR": str(libraries)}
    with (place / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def network_namespace() -> Generator[str]:
    """Make a network namespace that this machine reaches, and that reaches nothing else."""
    name = f"florin-{os.getpid()}"
    outer, inner = f"fl{os.getpid() % 10_000_000}a", f"fl{os.getpid() % 10_000_000}b"
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    try:
        for command in (
            ["ip", "netns", "add", name],
            ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner],
            ["ip", "link", "set", inner, "netns", name],
            ["ip", "address", "add", f"{_OUTER_HOST}/30", "dev", outer],
            ["ip", "link", "set", outer, "up"],
            [*inside, "ip", "address", "add", f"{_NAMESPACE_HOST}/30", "dev", inner],
            [*inside, "ip", "link", "set", inner, "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise EngineUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", outer], capture_output=True, check=False)


def load_base(engine: Engine) -> str:
    """Load the stand-in for the base image; return its tag. Raises EngineUnavailable.

    It trusts the certificates of this machine and reads its package index, as the Dockerfile must
    not know them. That a container of it can run and fetch a package is tried: what fails later is
    then the fault of the image.
    """
    archive = KEPT / "base.tar"
    if not archive.exists():
        _fetch("base.sh", archive)
    context = engine.place / "base"
    context.mkdir()
    shutil.copy(_CERTIFICATES, context / "ca-certificates.crt")
    (context / "pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n{_index()}", "utf-8")
    (context / "Dockerfile").write_text(
        f"FROM stand-in-root\nCOPY ca-certificates.crt {_CERTIFICATES}\nCOPY pip.conf /etc/\n",
        "utf-8",
    )
    fetch = ("python3", "-m", "pip", "download", "--quiet", "--no-deps", "msgspec")
    try:
        engine.docker("import", str(archive), "stand-in-root")
        engine.docker("build", "-q", "-t", "stand-in-base", str(context))
        engine.docker("run", "--rm", "--network", "host", "stand-in-base", *fetch)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"a container cannot run or fetch packages: {error}") from error
    return "stand-in-base"


def _index() -> str:
    """The line of pip's configuration with this machine's package index, if it names one."""
    url = os.environ.get("PIP_INDEX_URL", "")
    if not url:
        found = subprocess.run(
            ["pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        )
        url = found.stdout.strip() if found.returncode == 0 else ""
    return f"index-url = {url}\n" if url else ""


def _programs() -> Path:
    """The directory with an engine's programs: this system's if they are new enough."""
    if shutil.which("dockerd") is not None:
        said = subprocess.run(
            ["dockerd", "--version"], capture_output=True, text=True, check=False
        ).stdout  # Docker version 26.1.5, build …
        version = said.removeprefix("Docker version ").partition(".")[0]
        if version.isdigit() and int(version) >= _OLDEST:
            return Path("/")
    kept = KEPT / "engine"
    if not (kept / "usr/libexec/docker/cli-plugins/docker-compose").exists():
        _fetch("engine.sh", kept)
    return kept


def _fetch(script: str, target: Path) -> None:
    try:
        done = subprocess.run(
            [str(_STAND_INS / script), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCHED_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(f"{script} did not end in time") from error
    if done.returncode != 0:
        raise EngineUnavailable(f"{script} failed: {done.stderr.strip()[-500:]}")


def _wait_until_started(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            said = (engine.place / "log").read_text("utf-8", "replace").strip().splitlines()
            raise EngineUnavailable(f"dockerd did not start: {said[-1] if said else 'no log'}")
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            env=dict(engine.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            return
        time.sleep(0.1)


def _unmount(place: Path) -> None:
    """Unmount what an engine leaves mounted: the host's network, by its name."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    for mount in sorted(mounts, reverse=True):
        if Path(mount).is_relative_to(place):
            subprocess.run(["umount", mount], check=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it; it ends the containers and its containerd first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

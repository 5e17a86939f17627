"""An API instance for tests: the real process on its own port, stopped by its pid."""

import http.client
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from florin.identity import api_keys
from florin.identity.scopes import SCOPES
from florin.kit import ids
from florin.kit.postgres.database import Database
from florin.merchants import programs
from florin.merchants.program import ProgramRequest
from tests.support.ports import free_port

SECRETS = {
    name: f"{name.lower()}-of-the-tests-and-long-enough"
    for name in (
        "JWT_SECRET",
        "JWT_REFRESH_SECRET",
        "FLORIN_CODE_PEPPER",
        "FLORIN_KEY_PEPPER",
        "FLORIN_SEAL_KEY",
    )
}
# For clients on loopback: without it each one reads the certificates of the whole world first.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
READY_WITHIN_S = 90
STOPPED_WITHIN_S = 60


@dataclass(slots=True)
class Instance:
    """One process; `start` after `kill` serves on the same port with the same settings."""

    environ: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[Any] | None = field(default=None)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operations(self) -> str:
        """The base URL of its operations listener."""
        return f"http://127.0.0.1:{self.environ['FLORIN_OPERATIONS_PORT']}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "florin", "api"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environ),
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text("utf-8")[-3000:])
            time.sleep(0.05)

    def ready(self) -> bool:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            asking.request("GET", "/health/ready")
            return asking.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asking.close()

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        """Stop it as a deploy does; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


@contextmanager
def instance(database_url: str, **settings: str) -> Generator[Instance]:
    """Run an instance on that database; `settings` are further environment variables."""
    with tempfile.TemporaryDirectory(prefix="florin-test-") as folder:
        port = free_port()
        environ = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "DATABASE_URL": database_url,
            "FLORIN_ENV": "test",
            "FLORIN_INSTANCE": "api",
            "FLORIN_PORT": str(port),
            "FLORIN_OPERATIONS_PORT": str(free_port()),
            "FLORIN_DRAIN_S": "0",
            **SECRETS,
            **settings,
        }
        made = Instance(environ, port, Path(folder) / "log")
        try:
            made.start()
            yield made
        finally:
            if made.process is not None:
                made.stop()


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant with a program of 1 to 10^12 cents and a key for everything."""

    merchant: UUID
    program: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}


async def make_shop(
    owner: Any, database: Database, *, test: bool = False, scopes: frozenset[str] = SCOPES
) -> Shop:
    merchant, uuid = ids.new_id(), ids.new_id()
    await owner.execute(
        "insert into florin.merchant (id, name, country, currency, timezone, test)"
        " values ($1, 'Shop', 'NL', 'EUR', 'UTC', $2)",
        merchant,
        test,
    )
    wanted = ProgramRequest(
        name="Card", currency="EUR", min_amount=1, max_amount=10**12, expires_after_months=60
    )
    async with database.transaction() as tx:
        await programs.create_program(tx, merchant, wanted, program=uuid)
    made = await api_keys.create_key(
        database,
        merchant=merchant,
        request=api_keys.KeyRequest(name="tests", scopes=sorted(scopes)),
        allowed=SCOPES,
        pepper_hash=partial(api_keys.key_hash, SECRETS["FLORIN_KEY_PEPPER"].encode()),
    )
    assert isinstance(made.secret, str)
    return Shop(merchant, ids.show_id("prg", uuid), made.secret)

"""PostgreSQL: the embedded database server, a child of the supervisor on the loopback interface."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from florin.ops.fleet.home import require_space
from florin.ops.fleet.secrets import Secrets
from florin.ops.postgres import tuning
from florin.ops.postgres.connection import BadPassword, NotYet, Refused, open_session
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import account_files, bundled_programs, os_user, processes
from florin.ops.system.console import OperatorError, timed
from florin.ops.system.os_user import OsAccount

NAME = "postgres-1"
SUPERUSER, OWNER, APP, REPLICA = "postgres", "florin_owner", "florin_app", "florin_replica"
DATABASE = "florin"
_MAJOR = "18"
_SPACE_MB = 300
_SECRET = {
    SUPERUSER: "POSTGRES_PASSWORD",
    OWNER: "OWNER_PASSWORD",
    APP: "APP_PASSWORD",
    REPLICA: "REPLICA_PASSWORD",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One embedded server: its program, its data, its port."""

    program: Path
    data: Path
    port: int
    account: OsAccount | None
    secrets: Secrets
    name: str = NAME
    more: Mapping[str, str] = field(default_factory=dict[str, str])  # settings of its replica set

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, role: str) -> str:
        return postgres_url(self.address, role, self.secrets)

    def wanted(self) -> PartSpec:
        return PartSpec(
            name=self.name,
            role="postgres-primary",
            address=self.address,
            release=self.version(),
            launch=Launch(
                name=self.name,
                argv=(str(self.program), "-D", str(self.data)),
                environ={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
                account=self.account,
            ),
            ready=self.ready,
            ready_within_s=120,  # after a crash it first replays its log
            prepare=self.prepare,
            settle=self.make_roles,
        )

    def version(self) -> str:
        said = os_user.run_as(self.account, [str(self.program), "--version"]).stdout.split()
        return f"PostgreSQL {said[-1]}" if said else "PostgreSQL"

    async def ready(self) -> bool:
        """Return whether it accepts connections. Raises OperatorError on a wrong password."""
        try:
            async with open_session(self.url(SUPERUSER), within_s=5):
                return True
        except BadPassword:
            raise OperatorError(
                f"The database in {self.data} rejects the password in the home's secrets.json. Put"
                " that file back from a backup, or start with a new home (--home DIR)."
            ) from None
        except NotYet:
            return False

    def prepare(self) -> None:
        """Create the data directory at the first start, write its settings at every start."""
        folder = os_user.make_private_dir(self.data.parent, self.account)
        major = self._major()
        if major is None:
            require_space(folder, _SPACE_MB, "a new database")
            with timed("Creating the database"):
                self._create()
        elif major != _MAJOR:
            raise OperatorError(
                f"{self.data} was created by PostgreSQL {major}, but this version of Florin runs"
                f" {_MAJOR}. Upgrade it with pg_upgrade, or use another home (--home DIR)."
            )
        require_space(folder, 50, "PostgreSQL")
        self.write_settings()
        self.clear_remains()

    def write_settings(self) -> None:
        tuning.write_tuned_settings(self.data / "florin.conf", self.port, self.account, self.more)

    def clear_remains(self) -> None:
        """Remove the pid file of a killed server. Raises OperatorError when another server runs."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(account_files.read_account_file(lock, self.account).splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if processes.find_process(pid) is not None and self._serves(pid):
            raise OperatorError(
                f"A PostgreSQL server that florin did not start (pid {pid}) uses {self.data}. Stop"
                f" it (kill -INT {pid}) and run this command again."
            )
        # The pid is free or belongs to an unrelated process. If children of the old server still
        # ran, PostgreSQL would find their shared memory and refuse to start.
        account_files.remove_account_files(lock, self.account)

    async def make_roles(self) -> None:
        """Create the missing roles and the database. Raises OperatorError."""
        try:
            await self._make_roles()
        except NotYet as error:
            raise OperatorError(f"The roles of {self.name} were not created: {error!r}.") from None

    async def _make_roles(self) -> None:
        async with open_session(self.url(SUPERUSER)) as connection:
            # No replica runs yet that could confirm the commit.
            await connection.execute("set synchronous_commit = local")
            for role, options in ((OWNER, " createrole"), (APP, ""), (REPLICA, " replication")):
                known = "select 1 from pg_roles where rolname = $1"
                if not await connection.fetchval(known, role):
                    await connection.execute(f"create role {role} login{options}")
                if not await self._opens(role):
                    password = self.secrets[_SECRET[role]]
                    await connection.execute(f"alter role {role} password '{password}'")
            known = "select 1 from pg_database where datname = $1"
            if not await connection.fetchval(known, DATABASE):
                await connection.execute(f"create database {DATABASE} owner {OWNER}")
            await connection.execute(
                f"revoke connect, temporary on database {DATABASE} from public;"
                f" grant connect on database {DATABASE} to {APP}"
            )

    async def _opens(self, role: str) -> bool:
        try:
            async with open_session(self.url(role)):
                return True
        except BadPassword:
            return False
        except Refused:
            return True  # the password is right, the database does not exist yet

    def _major(self) -> str | None:
        try:
            return account_files.read_account_file(self.data / "PG_VERSION", self.account).strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OperatorError(
                f"{self.data} cannot be read ({error}). Run this command as its owner."
            ) from None

    def _serves(self, pid: int) -> bool:
        words = processes.command_line(pid)
        if not words or "postgres" not in Path(words[0]).name:
            return False
        try:
            return Path(f"/proc/{pid}/cwd").resolve() == self.data.resolve()
        except OSError:
            return str(self.data) in words

    def _create(self) -> None:
        """Run initdb in a temporary directory and rename it: a kill leaves no partial database."""
        partial = self.data.with_name(f"{self.data.name}.new")
        account_files.remove_account_files(partial, self.account)
        password = self.data.with_name("password.new")
        secret = f"{self.secrets['POSTGRES_PASSWORD']}\n"
        account_files.write_account_file(password, secret.encode("ascii"), self.account)
        arguments = ["-D", str(partial), "-U", SUPERUSER, f"--pwfile={password}", "-E", "UTF8"]
        arguments += ["--auth=scram-sha-256", "--data-checksums", "--no-instructions"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        said = os_user.run_as(self.account, [str(self.program.with_name("initdb")), *arguments])
        account_files.remove_account_files(password, self.account)
        if said.returncode != 0:
            account_files.remove_account_files(partial, self.account)
            raise OperatorError(_why_not(self.data, said.stderr))
        settings = partial / "postgresql.conf"
        try:
            text = account_files.read_account_file(settings, self.account)
        except (OSError, ValueError) as error:
            raise OperatorError(f"No database could be created in {self.data}: {error}") from None
        text += "\ninclude_if_exists = 'florin.conf'\n"
        account_files.write_account_file(settings, text.encode(), self.account)
        account_files.move_account_file(partial, self.data, self.account)


def _why_not(data: Path, output: str) -> str:
    if "No space left" in output:
        return (
            f"The disk of {data} is full; free at least {_SPACE_MB} MB and run this command again."
        )
    errors = [line for line in output.splitlines() if "error" in line or "FATAL" in line]
    return f"No database could be created in {data}: {(errors or ['initdb gave no reason'])[-1]}"


def postgres_url(address: str, role: str, secrets: Secrets, *, database: str | None = None) -> str:
    """The URL of a server; by default the superuser's own database, and the ledger's for others."""
    password = quote(secrets[_SECRET[role]], safe="")
    database = database or ("postgres" if role == SUPERUSER else DATABASE)
    return f"postgresql://{role}:{password}@{address}/{database}"


def embedded_postgres(
    place: Path,
    port: int,
    secrets: Secrets,
    user: OsAccount | None,
    *,
    name: str = NAME,
    more: Mapping[str, str] | None = None,
) -> Postgres:
    return Postgres(
        program=bundled_programs.engine_program(bundled_programs.POSTGRES, user),
        # The first server keeps the directory that it had before there were several.
        data=place / ("postgres" if name == NAME else name) / "data",
        port=port,
        account=user,
        secrets=secrets,
        name=name,
        more=more or {},
    )

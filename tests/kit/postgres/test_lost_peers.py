"""Lost peers: a machine whose cable is pulled holds no lock, and waits for no answer, for long."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from florin.kit.postgres.pool import open_connection
from tests.support import postgres_server
from tests.support.postgres_server import Server

# Of the range for benchmarks (RFC 2544), not that of the containers.
_SERVER, _CLIENT = "198.18.24.1", "198.18.24.2"
_FOUND_WITHIN_S = 40  # 11 s on a quiet machine; without limits, two hours
# In the namespace: one session holds a row, another waits for an answer.
_CLIENT_PROGRAM = """
import asyncio, sys
from florin.kit.postgres.pool import BROKEN, open_connection

async def main(dsn):
    holder, waiter = [await open_connection(dsn, name="lost") for _ in range(2)]
    await holder.execute("begin; select 1 from public.one for update")
    answer = asyncio.ensure_future(waiter.execute("select pg_sleep(600)"))
    print("held", flush=True)
    try:
        await answer
    except BROKEN:
        print("ended", flush=True)

asyncio.run(main(sys.argv[1]))
"""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def _machine(name: str) -> Generator[str]:
    """A network namespace with a cable to this machine; yields this machine's end of the cable."""
    port = f"{name}-0"
    with ExitStack() as stack:
        try:
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "del", name)
            # The deletion of the namespace deletes the cable, but not at once.
            _run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            stack.callback(subprocess.run, ["ip", "link", "del", port], capture_output=True)
            _run("ip", "addr", "add", f"{_SERVER}/30", "dev", port)
            _run("ip", "link", "set", port, "up")
            _run("ip", "-n", name, "addr", "add", f"{_CLIENT}/30", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield port


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    """A server that other machines reach, with a table of one row."""
    with postgres_server.server(
        postgres_server.program(), more=["listen_addresses='*'"]
    ) as started:
        with (started.data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"host all all {_CLIENT}/32 trust\n")

        async def prepare() -> None:
            connection = await open_connection(started.url("postgres", "postgres"), name="test")
            await connection.execute("create table public.one as select 1 as n")
            await connection.execute("select pg_reload_conf()")
            await connection.close()

        asyncio.run(prepare())
        yield started


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip")
async def test_both_ends_find_that_the_cable_is_pulled(server: Server, tmp_path: Path) -> None:
    name = f"flp{os.getpid()}"
    dsn = server.url("postgres", "postgres")
    with _machine(name) as port:
        program = tmp_path / "client.py"
        program.write_text(_CLIENT_PROGRAM, "utf-8")
        client = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", name, sys.executable, "-P", str(program),
            dsn.replace("127.0.0.1", _SERVER),
            stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert client.stdout is not None
            assert await client.stdout.readline() == b"held\n"
            _run("ip", "link", "set", port, "down")
            async with asyncio.timeout(_FOUND_WITHIN_S):
                connection = await open_connection(dsn, name="test")
                await connection.execute("select 1 from public.one for update")
                await connection.close()
                assert await client.stdout.readline() == b"ended\n"
        finally:
            if client.returncode is None:
                client.kill()
            await client.communicate()


async def test_both_ends_of_a_connection_have_the_limits(server: Server) -> None:
    """Also on machines without namespaces: what both ends were asked for is what they have."""
    connection = await open_connection(server.url("postgres", "postgres"), name="test")
    rows = await connection.fetch(
        "select name, setting from pg_settings where name like 'tcp%' order by name"
    )
    assert [tuple(row) for row in rows] == [
        ("tcp_keepalives_count", "3"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_user_timeout", "10000"),
    ]
    found: socket.socket = connection._transport.get_extra_info("socket")
    assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [found.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [5, 2, 3]
    assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    await connection.close()

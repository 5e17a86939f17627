"""Fleet spec: options, stored state and layout become one value, before anything changes."""

import os
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from florin.ops.fleet import desired_state
from florin.ops.fleet.desired_state import DesiredState
from florin.ops.fleet.home import Home, Layout
from florin.ops.fleet.model import Fleet, Part, Role
from florin.ops.fleet.options import RequestedState, UpOptions
from florin.ops.haproxy import frontend
from florin.ops.system import processes
from florin.ops.system.console import OperatorError
from florin.ops.topology import mailbox_process
from florin.ops.topology.fleet_spec import resolve_fleet_spec
from tests.support.ports import free_port


def running(name: str, role: Role, address: str) -> Part:
    me = processes.find_process(os.getpid())
    assert me is not None
    part = Part(name=name, role=role, state="ready", release="r1", address=address)
    return replace(part, pid=me.pid, started=me.started)


def test_options_replace_the_stored_state_and_nothing_is_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    kept = DesiredState(api=4, workers=2, replicas=2, valkey="cluster", algorithm="leastconn")
    desired_state.save_desired_state(home, kept)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = UpOptions(home=home, environ={}, port=free_port())
    spec = resolve_fleet_spec(options, Fleet())
    assert spec.desired == spec.stored == kept
    assert spec.members == ("postgres-1", "postgres-2", "postgres-3")
    more = replace(options, api=1, workers="auto", replicas=0, valkey="single", algorithm="iphash")
    spec = resolve_fleet_spec(more, Fleet())
    assert spec.stored == kept
    assert spec.desired == DesiredState(
        api=1, workers=None, replicas=0, valkey="single", algorithm="iphash"
    )
    assert spec.members == ("postgres-1",)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_workers_are_a_number_and_not_the_stored_one() -> None:
    assert RequestedState(workers=0).applied_to(DesiredState(workers=3)).workers == 0


def test_every_port_is_chosen_once_and_differs(tmp_path: Path) -> None:
    options = UpOptions(home=Home(tmp_path), environ={}, port=free_port(), valkey="sentinel")
    spec = resolve_fleet_spec(options, Fleet())
    chosen = spec.layout.ports
    assert len(set(chosen.values())) == len(chosen)
    assert chosen.keys() > {"postgres", "postgres-2", frontend.METRICS, frontend.OPERATIONS}
    assert spec.edge.port == options.port
    assert spec.edge.operations_port == chosen[frontend.OPERATIONS]
    assert spec.edge.fleet_metrics_port == chosen[frontend.METRICS]


def test_a_running_server_keeps_its_port_a_stopped_one_moves(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        home.write_layout(Layout(ports={"postgres": taken}))
        options = UpOptions(home=home, environ={}, port=free_port())
        server = running("postgres-1", "postgres-primary", f"127.0.0.1:{taken}")
        spec = resolve_fleet_spec(options, Fleet(parts=(server,)))
        assert spec.layout.ports["postgres"] == taken
        assert spec.notices == ()
        spec = resolve_fleet_spec(options, Fleet())
        moved = spec.layout.ports["postgres"]
    assert moved != taken
    (notice,) = spec.notices
    assert notice.startswith(f"Port {taken} of postgres-1 is in use by ")
    assert notice.endswith(f"; postgres-1 moves to port {moved}.")


def test_running_instances_keep_their_database(tmp_path: Path) -> None:
    url = "postgresql://other@127.0.0.1:1/elsewhere"
    options = UpOptions(home=Home(tmp_path), environ={"DATABASE_URL": url}, port=free_port())
    spec = resolve_fleet_spec(options, Fleet())
    assert (spec.database_url, spec.members) == (url, ())
    serving = Fleet(parts=(running("api-1", "api", "127.0.0.1:2"),))
    with pytest.raises(OperatorError, match=r"DATABASE_URL names 127\.0\.0\.1:1"):
        resolve_fleet_spec(options, serving)
    assert resolve_fleet_spec(replace(options, environ={}), serving).database_url is None


def test_a_port_in_use_and_a_broken_certificate_are_refused(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        options = UpOptions(home=Home(tmp_path), environ={}, port=taken)
        with pytest.raises(OperatorError, match=f"Port {taken} is in use"):
            resolve_fleet_spec(options, Fleet())
    (tmp_path / "cert.pem").write_text("no certificate", "ascii")
    pair = (tmp_path / "cert.pem", tmp_path / "cert.pem")
    with pytest.raises(OperatorError, match="contains no PEM certificate"):
        resolve_fleet_spec(replace(options, port=free_port(), tls=pair), Fleet())


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({}, True),
        ({"FLORIN_ENV": "test"}, True),
        ({"FLORIN_ENV": "production"}, False),
        ({"SMTP_HOST": "mail.example.org"}, False),
    ],
)
def test_mails_are_kept_outside_production_if_no_mail_server_is_named(
    tmp_path: Path, environ: dict[str, str], kept: bool
) -> None:
    options = UpOptions(home=Home(tmp_path), environ=environ, port=free_port())
    spec = resolve_fleet_spec(options, Fleet())
    assert spec.mailbox == kept
    assert (frontend.MAILBOX in spec.layout.ports) == kept


def test_the_mailbox_replaces_all_settings_of_a_mail_server() -> None:
    given = {"SMTP_USER": "u", "SMTP_PASSWORD_FILE": "/p", "SMTP_FROM": "a@b.example", "A": "b"}
    assert mailbox_process.mail_environ(given, 2525) == {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": "2525",
        "SMTP_TLS": "off",
        "SMTP_FROM": "a@b.example",
        "A": "b",
    }

"""The files for Compose and Swarm: rendered, complete, and with the numbers of the timing model."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from florin.kit.settings.settings import Settings
from florin.ops.fleet.timing import DEFAULT
from florin.ops.haproxy.discovery import DiscoverySettings, render_discovery_config
from florin.ops.valkey import users

DEPLOY = Path(__file__).parents[2] / "deploy"
# What must be there before the schema can be, so it cannot wait for the migration.
BEFORE_MIGRATION = {"database", "database-replica"} | {
    f"{kind}-{number}" for kind in ("valkey", "sentinel") for number in (1, 2, 3)
}
PUBLISHED = {"balancer", "grafana"}  # Grafana on loopback only


OVERRIDES = ("compose.development.yaml", "compose.patroni.yaml", "compose.valkey-cluster.yaml")


class _Loader(yaml.SafeLoader):
    """Reads Compose's own tags, which say how an override is merged, as what follows them."""


def _plain(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    del suffix
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


yaml.add_multi_constructor("!", _plain, Loader=_Loader)


def load(name: str) -> dict[str, Any]:
    return yaml.load((DEPLOY / name).read_text("utf-8"), Loader=_Loader)  # noqa: S506 -- a SafeLoader


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(name).stem, DEPLOY / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMPOSE = load("compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
STACK = load("stack.yaml")


def test_the_balancers_files_are_those_that_the_renderer_writes() -> None:
    for name, text in script("haproxy/render.py").rendered().items():
        assert (DEPLOY / "haproxy" / name).read_text("utf-8") == text, (
            f"run deploy/haproxy/render.py: {name}"
        )


def test_the_stack_is_that_of_the_compose_file() -> None:
    assert (DEPLOY / "stack.yaml").read_text("utf-8") == script("render_stack.py").rendered()


def test_no_service_of_the_stack_has_a_config_twice() -> None:
    """Docker gives two of one name a random order, which it takes for a change."""
    used = [each["source"] for each in STACK["services"]["database"]["configs"]]
    assert {"postgres_roles_sh", "postgres_server_sh"} == set(used)
    for name, service in STACK["services"].items():
        configs = [each["source"] for each in service.get("configs", ())]
        assert len(configs) == len(set(configs)), name


def test_every_variable_is_a_setting() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    development = load("compose.development.yaml")["services"]
    for name, service in (*SERVICES.items(), *development.items()):
        if service.get("image", "").startswith("${FLORIN") or name in development:
            used = {each.removesuffix("_FILE") for each in service["environment"]}
            assert used <= known, name


def test_instances_reach_the_page_of_the_operator_process() -> None:
    for services in (SERVICES, STACK["services"]):
        for name in {"api", "api-blue", "api-green"} & set(services):
            url = urlsplit(str(services[name]["environment"]["FLORIN_OPERATOR_URL"]))
            operator = services[str(url.hostname)]
            assert operator["command"] == ["operator"]
            assert operator["environment"]["FLORIN_OPERATIONS_PORT"] == str(url.port)
            assert set(operator["networks"]) & set(services[name]["networks"]), name


def test_containers_have_no_rights_and_write_to_no_image() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service.get("deploy", {}).get("replicas") != 0 and name != "tool":
            assert service["deploy"]["resources"]["limits"]["memory"], name
    assert all(service["read_only"] for service in STACK["services"].values())


def test_every_service_waits_for_the_schema() -> None:
    """`up --wait` fails for a one-shot that none waits for."""
    for name, service in SERVICES.items():
        if name in BEFORE_MIGRATION | {"migrate"}:
            continue
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully", (
            name
        )


def test_every_long_running_service_has_a_health_check() -> None:
    own = re.search(r"^HEALTHCHECK ", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    for name, service in SERVICES.items():
        assert "healthcheck" in service or (own and service["image"].startswith("${FLORIN")), name


def test_only_the_balancer_is_published_and_takes_commands_in_one_network() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == PUBLISHED
    assert SERVICES["grafana"]["ports"][0].startswith("127.0.0.1:")
    assert COMPOSE["networks"]["inner"]["internal"] is True
    shared = set(SERVICES["balancer"]["networks"]) & set(SERVICES["api-blue"]["networks"])
    assert shared == {"inner"}, "in two networks an instance would have two addresses"
    assert COMPOSE["networks"]["control"]["internal"] is True
    control = {name for name, service in SERVICES.items() if "control" in service["networks"]}
    assert control == {"balancer", "operator", "tool", "prometheus", "alertmanager", "grafana"}
    trusted = SERVICES["api-blue"]["environment"]["FLORIN_TRUSTED_PROXIES"]
    assert trusted == f"{SERVICES['balancer']['networks']['inner']['ipv4_address']}/32"


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    """No test runs Grafana: its image cannot be pulled, and Debian has no package."""
    grafana = SERVICES["grafana"]
    mounts = {target: DEPLOY / source for source, target, *_ in map(_parts, grafana["volumes"])}
    provisioning = mounts["/etc/grafana/provisioning/dashboards"]
    for file in provisioning.iterdir():
        for provider in yaml.safe_load(file.read_text("utf-8"))["providers"]:
            folder = mounts[provider["options"]["path"]]
            assert len(list(folder.glob("*.json"))) >= 7
    [config] = grafana["configs"]
    source = yaml.safe_load(COMPOSE["configs"][config["source"]]["content"])["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    url = urlsplit(str(source["url"]))
    assert url.port == 9090, "the default port of Prometheus"
    prometheus = SERVICES[str(url.hostname)]
    assert set(prometheus["networks"]) & set(grafana["networks"])
    assert not any("listen" in word for word in prometheus["command"])


def _parts(mount: str) -> list[str]:
    return mount.split(":")


def test_secrets_are_files_and_each_is_made() -> None:
    made = (DEPLOY / "secrets.sh").read_text("utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert re.search(rf"\b{name}\b", made), name
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert not re.search(r"(?i)(password|secret|pepper|_key): +[^/\s{$&\[]", text)


def test_the_overrides_add_services_without_rights_and_publish_nothing() -> None:
    made = (DEPLOY / "secrets.sh").read_text("utf-8")
    for file in OVERRIDES:
        override = load(file)
        for name, service in override["services"].items():
            assert "ports" not in service, name
            if name in SERVICES:
                assert not {"read_only", "cap_drop", "security_opt"} & set(service), name
                continue
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert service["deploy"]["resources"]["limits"]["memory"], name
            for secret in service.get("secrets", ()):
                assert secret in COMPOSE["secrets"], name
        for secret in override.get("secrets", {}).values():
            assert re.search(rf"\b{secret['file'].rpartition('/')[2]}\b", made), secret


def test_only_databases_and_etcd_reach_what_elects_the_primary() -> None:
    override = load("compose.patroni.yaml")
    members = {
        name
        for name, service in override["services"].items()
        if "election" in service.get("networks", ())
    }
    assert override["networks"]["election"] == {"internal": True}
    databases = {"database", "database-replica", "database-third"}
    assert members == databases | {"etcd-1", "etcd-2", "etcd-3"}
    etcd = (DEPLOY / "patroni" / "etcd.sh").read_text("utf-8")
    assert "--client-cert-auth " in etcd.replace("--peer-client-cert-auth", "")
    assert "--peer-client-cert-auth" in etcd
    names = (DEPLOY / "secrets.sh").read_text("utf-8")
    assert all(re.search(rf"\b{name}\b", names) for name in members), "not in the certificate"


def test_a_failover_of_patroni_loses_no_acknowledged_commit() -> None:
    text = (DEPLOY / "patroni" / "server.sh").read_text("utf-8")
    config = yaml.safe_load(
        re.sub(r"\$\S+", "value", text.partition("<<END\n")[2].partition("\nEND\n")[0])
    )
    dcs = config["bootstrap"]["dcs"]
    assert (dcs["synchronous_mode"], dcs["synchronous_mode_strict"]) == (True, True)
    # Patroni asks for it; else a primary that cannot renew its lease in time keeps serving.
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]
    assert all(line.split()[0] in ("local", "hostssl") for line in config["postgresql"]["pg_hba"])


def test_secrets_that_are_there_are_kept(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    script_path = tmp_path / "secrets.sh"
    subprocess.run([str(script_path)], check=True)
    own = tmp_path / "secrets" / "database_url"
    own.chmod(0o600)
    own.write_text("postgresql://florin_app@managed.example/florin\n", "utf-8")
    before = {each.name: each.read_bytes() for each in (tmp_path / "secrets").iterdir()}
    subprocess.run([str(script_path)], check=True)
    assert {each.name: each.read_bytes() for each in (tmp_path / "secrets").iterdir()} == before
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert len(before) > 20


def test_only_the_migration_gets_the_owner_of_the_schema() -> None:
    has = {
        name
        for name, service in SERVICES.items()
        if "database_url_owner" in service.get("secrets", [])
    }
    assert has == {"migrate"}


def test_valkey_has_the_rights_of_the_fleet() -> None:
    text = (DEPLOY / "valkey" / "server.sh").read_text("utf-8")
    assert f"rights='{users.RIGHTS}'" in text
    assert f"rights='{users.SENTINEL_RIGHTS}'" in text


@pytest.mark.parametrize("tls", [False, True])
def test_the_balancer_forgets_no_address_before_its_container_has_stopped(tls: bool) -> None:
    text = render_discovery_config(DiscoverySettings(tls=tls))
    held = {
        int(value) / 1000 for value in re.findall(r"hold (?:obsolete|nx|timeout) (\d+)ms", text)
    }
    assert held == {DEFAULT.stop_grace_s}
    assert "shutdown-sessions" not in text, "it fails requests that are connecting"
    # HAProxy 2.6 and 2.8 ignore it in `default-server`.
    servers = re.findall(r"^  server-template .*", text, re.MULTILINE)
    assert len(servers) == 4
    assert all(f" tcp-ut {DEFAULT.gone_within_s * 1000:.0f}ms" in each for each in servers)
    assert ("ssl crt" in text) is tls

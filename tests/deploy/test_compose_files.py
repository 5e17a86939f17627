"""The files for Compose: rendered, complete, and with the numbers of the timing model."""

import importlib.util
import re
from pathlib import Path
from typing import Any

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


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(name).stem, DEPLOY / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMPOSE = load("compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(ms|s)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return float(number) / (1000 if unit == "ms" else 1)


def test_the_balancers_files_are_those_that_the_renderer_writes() -> None:
    for name, text in script("haproxy/render.py").rendered().items():
        assert (DEPLOY / "haproxy" / name).read_text("utf-8") == text, (
            f"run deploy/haproxy/render.py: {name}"
        )


def test_a_stopped_container_has_the_time_that_the_model_gives() -> None:
    for name in ("api-blue", "api-green", "worker", "operator", "balancer"):
        assert seconds(SERVICES[name]["stop_grace_period"]) == DEFAULT.stop_grace_s, name


def test_instances_drain_as_the_model_says() -> None:
    for name in ("api-blue", "api-green", "worker"):
        environment = SERVICES[name]["environment"]
        assert {key: environment[key] for key in DEFAULT.environ()} == DEFAULT.environ(), name


def test_every_variable_is_a_setting() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    for name, service in SERVICES.items():
        if service.get("image", "").startswith("${FLORIN"):
            used = {each.removesuffix("_FILE") for each in service["environment"]}
            assert used <= known, name


def test_containers_have_no_rights_and_write_to_no_image() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service.get("deploy", {}).get("replicas") != 0 and name != "tool":
            assert service["deploy"]["resources"]["limits"]["memory"], name


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


def test_secrets_are_files_and_each_is_made() -> None:
    made = (DEPLOY / "secrets.sh").read_text("utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert re.search(rf"\b{name}\b", made), name
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert not re.search(r"(?i)(password|secret|pepper|_key): +[^/\s{$&\[]", text)


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
    assert f"tcp-ut {DEFAULT.gone_within_s * 1000:.0f}ms" in text
    assert ("ssl crt" in text) is tls

"""Render stack: write stack.yaml, the same services for Swarm: python deploy/render_stack.py.

tests/deploy/test_compose_files.py fails when the file differs. What Swarm does otherwise:

- Nodes have none of this checkout's files: what Compose mounts from here becomes a config. Configs
  and secrets cannot be changed, so stack.sh names them by their content.
- Tasks have no fixed addresses: the balancer is trusted by its network, and takes no commands.
- One service `api` under the name of the blue one: Swarm replaces its tasks itself, one by one,
  a new one first, and goes back when one fails.
- No virtual addresses (they need IPVS in the kernel): a name gives the addresses of its tasks, and
  the balancer, one per node at the node's own port, finds and checks each task.
- `depends_on`, `security_opt`, `profiles` do not exist: services try again until others are there.
"""
# ruff: noqa: INP001 -- this folder is no package

import re
from pathlib import Path
from typing import Any

import yaml

from florin.ops.fleet.timing import DEFAULT

HERE = Path(__file__).parent
LEFT_OUT = ("tool", "api-green", "grafana")  # Grafana is better run once, outside of the Swarm
DROPPED = (
    *("depends_on", "security_opt", "profiles", "restart", "labels", "shm_size"),
    *("tmpfs", "volumes"),
)
PLACES = {"database": "florin.primary", "database-replica": "florin.replica"}
NETWORK = "${FLORIN_NETWORK:-10.203}"
HEADER = (
    "# Rendered from compose.yaml by deploy/render_stack.py: do not edit."
    " docs/operations/swarm.md\n"
)


def rendered() -> str:
    """Return the text of stack.yaml."""
    compose: dict[str, Any] = yaml.safe_load((HERE / "compose.yaml").read_text("utf-8"))
    configs: dict[str, Any] = {}
    services = {
        _name(name): _service(name, service, configs)
        for name, service in compose["services"].items()
        if name not in LEFT_OUT
    }
    mounts = [mount for each in services.values() for mount in each.get("volumes", [])]
    used = {mount["source"] for mount in mounts if mount["type"] == "volume"}
    named = {secret for each in services.values() for secret in each.get("secrets", [])}
    stack: dict[str, Any] = {
        "version": "3.12",
        "services": services,
        "networks": {name: _network(each) for name, each in compose["networks"].items()},
        "volumes": {name: {} for name in compose["volumes"] if name in used},
        "configs": {name: _by_content(name, each["file"]) for name, each in configs.items()},
        "secrets": {
            name: _by_content(name, each["file"])
            for name, each in compose["secrets"].items()
            if name in named
        },
    }
    return HEADER + yaml.dump(stack, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    """Writes everything out: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _by_content(name: str, file: str) -> dict[str, str]:
    """Return a config or secret; stack.sh sets the variable of each file."""
    variable = "SUM_" + re.sub(r"[^A-Za-z0-9]", "_", file.removeprefix("./"))
    return {"file": file, "name": f"${{FLORIN_STACK:-florin}}_{name}_${{{variable}:-1}}"}


def _name(name: str) -> str:
    return "api" if name == "api-blue" else name


def _service(name: str, service: dict[str, Any], configs: dict[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in service.items() if key not in DROPPED}
    made["deploy"] = _deploy(name, service)
    made["networks"] = {each: {} for each in service["networks"]}
    if name == "api-blue":
        made["image"] = "${FLORIN_IMAGE:-florin:1}"
        made["networks"]["inner"] = {"aliases": [name]}
    if "env_file" in service:
        made["env_file"] = ["./florin.env"]  # stack.sh makes it where it is missing
    environment = made.get("environment", {})
    if "FLORIN_TRUSTED_PROXIES" in environment:
        made["environment"] = environment | {"FLORIN_TRUSTED_PROXIES": f"{NETWORK}.1.0/24"}
    if name == "balancer":
        del made["environment"]
        made["ports"] = [
            {"target": 8080, "published": "${FLORIN_PORT:-8000}", "protocol": "tcp", "mode": "host"}
        ]
    made |= _mounts(service, configs)
    return made


def _mounts(service: dict[str, Any], configs: dict[str, Any]) -> dict[str, Any]:
    """Return volumes and configs; tmpfs becomes a volume of that type."""
    volumes = list[dict[str, Any]]()
    files = list[dict[str, Any]]()
    for word in service.get("volumes", []):
        source, target, *_ = word.split(":")
        if source.startswith("./"):
            files += _configs(HERE / source, target, configs)
        else:
            volumes.append({"type": "volume", "source": source, "target": target})
    temporary: list[dict[str, Any]] = [
        {"type": "tmpfs", "target": word.partition(":")[0]} for word in service.get("tmpfs", [])
    ]
    if "shm_size" in service:
        size = int(service["shm_size"].removesuffix("m")) * 2**20
        shared = {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": size}}  # noqa: S108
        temporary.append(shared)
    made: dict[str, Any] = {"volumes": [*volumes, *temporary]} if volumes or temporary else {}
    # A file that is mounted by itself, too, is left out of its directory: Docker sorts configs by
    # name, so two of one name change places at random, and the service is replaced for nothing.
    last = {file["source"]: file for file in files}
    return made | ({"configs": list(last.values())} if files else {})


def _configs(source: Path, target: str, configs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a config for a file, or for every file of a directory."""
    if source.name == "haproxy.cfg":
        source = source.with_name("haproxy-swarm.cfg")
    if source.name == "live":
        configs["live_colour"] = {"file": "./haproxy/colour-swarm.map"}
        return [{"source": "live_colour", "target": f"{target}/colour.map"}]
    files = (
        [source]
        if source.is_file()
        else sorted(each for each in source.iterdir() if each.is_file())
    )
    made: list[dict[str, Any]] = []
    for file in files:
        name = f"{file.parent.name}_{file.name}".replace(".", "_").replace("-", "_")
        configs[name] = {"file": f"./{file.relative_to(HERE)}"}
        at = target if source.is_file() else f"{target}/{file.name}"
        made.append({"source": name, "target": at})
    return made


def _deploy(name: str, service: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = dict(service.get("deploy", {}))
    made["endpoint_mode"] = "dnsrr"
    if name == "migrate":
        made |= {"mode": "replicated-job"}
        made["restart_policy"] = {"condition": "on-failure", "delay": "3s", "max_attempts": 20}
        return made
    made["restart_policy"] = {"condition": "any", "delay": "1s"}
    if name == "balancer":
        made["mode"] = "global"
    if name == "api-blue":
        made["replicas"] = "${FLORIN_API:-2}"
        made["labels"] = {"florin.previous": "${FLORIN_PREVIOUS:-}"}
    if name in PLACES:
        made["placement"] = {"constraints": [f"node.labels.{PLACES[name]} == true"]}
    order = "start-first" if name in ("api-blue", "worker") else "stop-first"
    change = {
        "parallelism": 1,
        "delay": "0s",
        "order": order,
        "monitor": f"{DEFAULT.update_watch_s:g}s",
        "max_failure_ratio": 0,
    }
    made["update_config"] = change | {"failure_action": "rollback"}
    made["rollback_config"] = change | {"failure_action": "pause"}
    return made


def _network(network: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"driver": "overlay"}
    if network.get("internal"):
        made["internal"] = True
    if "ipam" in network:
        made["ipam"] = {"config": [{"subnet": network["ipam"]["config"][0]["subnet"]}]}
    return made


if __name__ == "__main__":
    (HERE / "stack.yaml").write_text(rendered(), "utf-8")

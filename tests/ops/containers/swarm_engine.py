"""Swarm engine: a program `docker` for tests, which keeps the services of one stack in a file.

It answers the commands that `florin deploy --target swarm` gives, in the form of Docker 26. What
fails is chosen by image: `bad:worker` does not start as a worker, `bad:migrate` does not migrate.
The same deployments run on real engines in tests/containers/test_swarm.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

FILE = "swarm.json"
_OPTIONS = ("--image", "--update-parallelism", "--update-monitor", "--label-add")


def first_state(image: str) -> dict[str, Any]:
    names = ("api", "worker", "operator", "migrate")
    fresh: dict[str, Any] = {
        "image": image,
        "labels": {},
        "changes": 0,
        "state": "",
        "errors": {},
        "runs": 1,
    }
    return {"services": {name: dict(fresh) for name in names}, "log": []}


def _update(service: dict[str, Any], name: str, words: list[str]) -> None:
    given = {each: words[words.index(each) + 1] for each in _OPTIONS if each in words}
    if "--label-add" in given:
        key, _, value = given["--label-add"].partition("=")
        service["labels"][key] = value
    image = given.get("--image")
    if image is None:
        return
    service["changes"] += 1
    if image == f"bad:{name}":
        service["errors"] = {f"task{n}": "task: non-zero exit (3)" for n in range(6)}
        service["failed"] = image
        service["state"] = "rollback_completed"
        return
    service |= {"image": image, "state": "completed", "runs": service["runs"] + 1}


def _inspected(service: dict[str, Any]) -> list[Any]:
    spec = {"ContainerSpec": {"Image": service["image"]}}
    details: dict[str, Any] = {"Spec": {"Labels": service["labels"], "TaskTemplate": spec}}
    details["JobStatus"] = {"JobIteration": {"Index": service["runs"]}}
    if service["changes"]:
        details["UpdateStatus"] = {"State": service["state"], "StartedAt": str(service["changes"])}
    return [details]


def main(folder: Path, words: list[str]) -> None:
    file = folder / FILE
    state: Any = json.loads(file.read_text("utf-8"))
    services, verb = state["services"], words[1]
    name = words[-1].removeprefix("florin_")
    if verb == "inspect":
        print(json.dumps(_inspected(services[name])))
    elif verb == "update":
        state["log"].append([name, *words[2:-1]])
        _update(services[name], name, words)
    elif verb == "ls":
        done = 0 if state.pop("slow", False) else 1  # the first time it is asked
        print(f"florin_migrate\t0/1 ({done}/1 completed)")
    elif verb == "ps":
        for task, error in services[name]["errors"].items():
            row = [task, services[name]["failed"], error]
            print("\t".join(row if "{{.Image}}" in words[-2] else (task, error)))
    elif verb == "logs":
        print("first line\nthe last words", file=sys.stderr)
    file.write_text(json.dumps(state), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

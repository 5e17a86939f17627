"""The configuration with servers by DNS: a real HAProxy accepts it and switches between colours."""

import re
import subprocess
from pathlib import Path

import pytest

from florin.ops.haproxy.discovery import (
    COLOUR_MAP,
    COLOURS,
    DiscoverySettings,
    render_colour_map,
    render_discovery_config,
)
from florin.ops.haproxy.program import find_haproxy


def test_a_real_haproxy_accepts_it(tmp_path: Path) -> None:
    colours = tmp_path / "colour.map"
    colours.write_text(render_colour_map("green"), "utf-8")
    settings = DiscoverySettings(control_host="127.0.0.1", operations_host="127.0.0.1")
    text = render_discovery_config(settings).replace(COLOUR_MAP, str(colours))
    file = tmp_path / "haproxy.cfg"
    file.write_text(text, "utf-8")
    done = subprocess.run(
        [str(find_haproxy().path), "-c", "-f", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("colour", COLOURS)
def test_each_colour_has_its_backend_and_one_for_when_no_instance_is_healthy(colour: str) -> None:
    text = render_discovery_config(DiscoverySettings())
    probing, panic = (
        text.split(f"backend {name}\n")[1].split("backend")[0]
        for name in (colour, f"panic_{colour}")
    )
    assert "disable-on-404" in probing
    assert re.search(r" init-addr none tcp-ut [0-9]+ms check$", probing.rstrip())
    assert f" api-{colour}:8000 " in probing
    assert f" api-{colour}:8000 " in panic
    assert "check" not in panic
    assert f"use_backend panic_{colour} if {{ var(txn.colour) -m str {colour} }}" in text

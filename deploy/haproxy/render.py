"""Render: write the configurations of this folder. Run it after a change of the timing model or the
renderer: python deploy/haproxy/render.py. tests/deploy/test_compose_files.py fails when a file differs.
"""
# ruff: noqa: E501, INP001 -- this folder is no package

from pathlib import Path

from florin.ops.haproxy.discovery import DiscoverySettings, render_discovery_config

HERE = Path(__file__).parent


def rendered() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        "haproxy.cfg": render_discovery_config(DiscoverySettings()),
        "haproxy-tls.cfg": render_discovery_config(DiscoverySettings(tls=True)),
        # Swarm gives no fixed addresses; it needs no commands either, since it rolls releases itself.
        "haproxy-swarm.cfg": render_discovery_config(
            DiscoverySettings(control_host="127.0.0.1", operations_host="")
        ),
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (HERE / name).write_text(text, "utf-8")

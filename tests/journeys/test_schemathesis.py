"""Schemathesis over the whole document: no answer of 5xx, and all as documented.

Short here; long with `bin/test tests/journeys/test_schemathesis.py --minutes 30`.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import Instance, Shop

# Left out: a request that is right in form may well be refused (a program that is not there), and
# permissions are tested by test_permissions.py.
LEFT_OUT = (
    "positive_data_acceptance",
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
)
SHORT_S = 25
WITHIN_S = 240  # of the start, and of what was under way when the time was up


def run(api: Instance, folder: Path, *words: str, seconds: int) -> str:
    refused = "[400, 401, 402, 403, 404, 409, 413, 422, 429, 431]"
    (folder / "schemathesis.toml").write_text(
        f"[checks]\nmissing_required_header = {{ expected-statuses = {refused} }}\n"
        f"negative_data_rejection = {{ expected-statuses = {refused} }}\n"
        + "".join(f"{name} = {{ enabled = false }}\n" for name in LEFT_OUT)
        # A wrong item gets its own response next to those of the other items.
        + '[[operations]]\ninclude-path = "/api/v1/redemptions/batch"\n'
        "[operations.checks]\nnegative_data_rejection = { enabled = false }\n",
        "utf-8",
    )
    said = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            *("--config-file", str(folder / "schemathesis.toml")),
            *("run", f"{api.base}/api/v1/openapi.json", "--url", f"{api.base}"),
            *("--no-color", "--continue-on-failure"),
            *("--exclude-path", "/api/v1/events/stream"),  # it never ends; see test_stream.py
            # Later orders would be sent to Stripe; see tests/payments.
            *("--exclude-path", "/api/v1/gateways"),
            *("--max-time", str(seconds), "--suppress-health-check", "all"),
            *words,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds + WITHIN_S,
        check=False,
    )
    shown = said.stdout[-15000:] + said.stderr[-3000:]
    assert said.returncode == 0, shown
    return said.stdout


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False], ids=["authenticated", "stranger"])
def test_every_response_is_documented(
    api: Instance, shop: Shop, tmp_path: Path, request: pytest.FixtureRequest, known: bool
) -> None:
    minutes: Any = request.config.getoption("--minutes")
    seconds = int(60 * minutes) or SHORT_S
    # Without any header Schemathesis would register a merchant for itself.
    words = ["-H", f"Authorization: Bearer {shop.secret if known else 'flk_nobody'}"]
    seed = request.config.getoption("--seed")
    # The short run sends the same requests each time; the long one draws new ones.
    if seed is not None or not minutes:
        words += ["--seed", str(seed or 1)]
    seconds, least = (seconds, 500) if known else (seconds // 2, 100)
    generated: list[int] = []
    while len(generated) < 4 and max([0, *generated]) <= least:
        # Longer, where a busy machine did less than is worth anything.
        said = run(api, tmp_path, *words, seconds=seconds * 2 ** len(generated))
        generated += [int(number) for number in re.findall(r"(\d+) generated", said)]
    assert max(generated) > least, generated

"""100,000 random operations against the model; on the oldest PostgreSQL a tenth of them.

`bin/test tests/ledger/test_machine.py --operations 10000000 --seed 7` is the long form; a seed
repeats the same run. The short form always has the same seed, because every change must pass it.
"""

from typing import Any

import pytest

from florin.kit.postgres.database import Database
from florin.reports import proof as proof_
from tests.ledger import machine
from tests.ledger.conftest import OLDEST

_SEED = 1764
_RUNS = 4  # concurrent runs, each with its own database


@pytest.mark.slow
@pytest.mark.parametrize("part", range(_RUNS))
async def test_the_ledger_agrees_with_its_model(
    part: int,
    version: str,
    app: Any,
    owner: Any,
    database: Database,
    pytestconfig: pytest.Config,
) -> None:
    seed: int | None = pytestconfig.getoption("--seed")
    seed = (_SEED if seed is None else seed) + part
    asked = int(pytestconfig.getoption("--operations") or 0)
    operations = asked // _RUNS // (10 if version == OLDEST else 1)
    print(f"seed {seed}")
    ran = await machine.run(app, owner, seed=seed, operations=operations)
    for merchant in ran.merchants.values():
        proof = await proof_.prove_ledger(database, merchant)
        assert proof.balanced, proof.differences
    # A run in which an outcome never occurred would prove less than it claims.
    missing = {
        "ok", "replayed", "idempotency_key_reused", "insufficient_funds", "card_expired",
        "card_blocked", "card_not_active", "card_closed", "currency_mismatch", "hold_not_open",
        "capture_exceeds_hold", "refund_exceeds_redemption", "partial_redemption_not_allowed",
        "card_not_found", "hold_not_found", "redemption_not_found",
    } - set(ran.outcomes)  # fmt: skip
    assert not missing or operations < 20_000, f"never seen: {missing}"

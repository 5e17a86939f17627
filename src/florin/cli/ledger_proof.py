"""Ledger proof: check the ledger of every merchant in a database, without an API instance."""

from typing import Any

from florin.kit.postgres.database import Database
from florin.kit.postgres.function_sets import use_installed_functions
from florin.ops.system.console import OperatorError
from florin.reports import proof as proof_


async def prove_all(url: str) -> dict[str, Any]:
    """Return the numbers of checked rows. Raises OperatorError if a ledger does not balance."""
    database = Database(f"{url}?connection_limit=2", on_connect=use_installed_functions)
    await database.open()
    try:
        rows = await database.all("select id from florin.merchant order by id")
        proofs = [await proof_.prove_ledger(database, row["id"]) for row in rows]
    finally:
        await database.close()
    wrong = [proof for proof in proofs if not proof.balanced]
    if wrong:
        first = wrong[0].differences[0]
        raise OperatorError(
            f"The ledgers of {len(wrong)} of {len(proofs)} merchants do not balance in the"
            f" restored database: {first.check}, {first.detail}"
        )
    return {
        "merchants": len(proofs),
        "cards": sum(proof.cards for proof in proofs),
        "entries": sum(proof.entries for proof in proofs),
    }

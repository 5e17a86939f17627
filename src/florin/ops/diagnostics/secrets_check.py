"""Secrets check: whether the secrets that no backup holds were exported."""

import time

from florin.ops.backups.secrets_export import last_export
from florin.ops.diagnostics.finding import Finding
from florin.ops.fleet import secrets
from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError

_DAY_S = 86_400
_ADVICE = (
    "run florin backup --secrets FILE and keep the file apart from the backups: without it no card"
    " of a restored database can be found by its code"
)


def check_exported_secrets(options: UpOptions) -> list[Finding]:
    """Check that they were exported and are still the same; no finding where there are none."""
    try:
        if not secrets.read_secrets(options.home) and options.given("FLORIN_CODE_PEPPER") is None:
            return []
        record, same = last_export(options.home, options.given)
    except OperatorError as error:
        return [Finding("fleet", "secrets export", "fail", str(error))]
    if record is None:
        said = f"the peppers and the seal key were never exported; {_ADVICE}"
        return [Finding("fleet", "secrets export", "warn", said)]
    if not same:
        said = f"the secrets changed since they were exported; {_ADVICE}"
        return [Finding("fleet", "secrets export", "warn", said)]
    days = int((time.time() - record.at) // _DAY_S)
    return [Finding("fleet", "secrets export", "ok", f"exported {days} days ago, and unchanged")]

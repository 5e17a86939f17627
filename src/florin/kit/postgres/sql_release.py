"""SQL release: the migrations, functions and grants that belong to the code of one release.

The functions of a release live in a schema of their own, `florin_` and twelve digits of the hash of
their texts and grants. Its processes find them by the search path of their connections, so that a
later release cannot change what an earlier one executes (docs/decisions/0020-function-sets.md).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

# In the order of installation: a function in SQL must exist before another one calls it.
FUNCTION_FILES = (
    "ledger/clock.sql",
    "ledger/idempotency_keys.sql",
    "ledger/quotas.sql",
    "identity/exceeded_quota.sql",
    "identity/audit_seal.sql",
    "ledger/post.sql",
    "ledger/issue.sql",
    "ledger/gateway_postings.sql",
    "ledger/payouts.sql",
    "ledger/reset_pin.sql",
    "ledger/change_card.sql",
    "ledger/expire.sql",
    "ledger/analyze.sql",
    "kit/postgres/idempotency.sql",
    "kit/queue/queue.sql",
    "deliveries/notices/notify_staff.sql",
    "cards/jobs/finish_job.sql",
    "cards/erase_person.sql",
    "webhooks/fan_out.sql",
)
_FORMAT = b"1\0"  # of an installation; another way to install makes other sets
_CREATES = re.compile(r"^create function (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class SqlRelease:
    """The SQL files below `root`, the directory of the package."""

    root: Path

    @cached_property
    def migrations(self) -> tuple[Path, ...]:
        """In their order: NNNN_expand_… and NNNN_contract_…."""
        return tuple(sorted((self.root / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql")))

    @property
    def schema_number(self) -> int:
        """The number of the latest migration that this release knows."""
        return migration_number(self.migrations[-1])

    @property
    def functions(self) -> tuple[Path, ...]:
        return tuple(self.root / name for name in FUNCTION_FILES)

    @cached_property
    def grants(self) -> str:
        return (self.root / "migrations" / "grants.sql").read_text("utf-8")

    @cached_property
    def set_name(self) -> str:
        """The schema of the functions. Equal texts and grants have one name in all releases."""
        digest = hashlib.sha256(_FORMAT)
        for path in self.functions:
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
        digest.update(self.grants.encode())
        return f"florin_{digest.hexdigest()[:12]}"

    @cached_property
    def function_names(self) -> frozenset[str]:
        texts = (path.read_text("utf-8") for path in self.functions)
        return frozenset(name for text in texts for name in _CREATES.findall(text))

    @property
    def search_path(self) -> str:
        """Of the connections of this release: its functions, then the tables."""
        return f"{self.set_name}, florin"


def migration_number(path: Path) -> int:
    return int(path.name[:4])


def is_contract(path: Path) -> bool:
    """Return whether a migration removes something."""
    return "_contract_" in path.name


def file_checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PACKAGED = SqlRelease(Path(str(files("florin"))))

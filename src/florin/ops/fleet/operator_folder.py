"""Operator folder: the directory that the supervisor and the operator process share."""

import os
from dataclasses import replace
from pathlib import Path

from florin.ops.fleet.home import Home
from florin.ops.system import os_user, public_files
from florin.ops.system.os_user import OsAccount

FACTS = "facts.json"  # what the supervisor publishes
ALERTS = "alerts"  # the directory of the operator process itself
MAILBOX = "mailbox"  # the directory of the mailbox process
ORDERS = "orders.json"  # silences and tests, from the command line


def operator_folder(home: Home) -> Path:
    """Return the directory of the facts, the silences and the state of the alerts."""
    outside = home.layout().operator
    return home.path / "operator" if outside is None else Path(outside)


def prepare_folder(home: Home, account: OsAccount | None, *, keep: bool) -> Path:
    """Create the directory: the account may read it, and write only into `alerts` and `mailbox`.

    `keep`: the operator process runs and uses the facts. Else they are those of an earlier start,
    whose parts have ended: that is no outage.
    """
    folder, outside = home.path / "operator", None
    if account is not None and not os_user.can_reach_folder(account, home.path):
        folder = public_files.public_folder(home.path) / "operator"
        public_files.open_directory(folder)
        outside = str(folder)
    if home.layout().operator != outside:
        home.write_layout(replace(home.layout(), operator=outside))
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        public_files.require_own(folder)
        os.chown(folder, 0, account.gid)
        folder.chmod(0o2750)  # files in it get its group
    for own in (ALERTS, MAILBOX):
        os_user.make_private_dir(folder / own, account)
    if not keep:
        (folder / FACTS).unlink(missing_ok=True)
    return folder

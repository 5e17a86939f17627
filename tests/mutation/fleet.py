"""Mutations of the fleet: the guards of root's file access and of the accounts of processes."""

from tests.mutation.mutation import without as _

FILES = "src/florin/ops/system/account_files.py"
USERS = "src/florin/ops/system/os_user.py"
_SETS = (
    "tests/kit/settings/test_settings.py"
    "::test_production_refuses_unencrypted_connections_to_other_hosts"
)
_RUNS = "tests/ops/lifecycle/test_accounts.py"
_ACTS = "tests/ops/system/test_account_files.py"

FLEET = (
    _("root follows symlinks of the engines' account", FILES,
      "ended = run_as(account, words,", "ended = run_as(None, words,", _ACTS),
    _("root removes through symlinks of the engines' account", FILES,
      'run_as(account, ["rm", "-rf"', 'run_as(None, ["rm", "-rf"', _ACTS),
    _("root reads files that the account does not own", FILES,
      " or (account is not None and found.st_uid != account.uid)", "", _ACTS),
    _("root creates directories through symlinks", USERS,
      "if account is not None and _inside(folder.parent, account):", "if False:", _ACTS),
    _("root writes to a home of another user", "src/florin/ops/system/public_files.py",
      "    if found.st_uid != 0:\n        name", "    if False:\n        name",
      f"{_ACTS}::test_root_refuses_a_home_that_another_user_can_change"),
    _("root writes over an existing name", "src/florin/ops/fleet/home.py",
      "os.O_EXCL | os.O_NOFOLLOW", "0",
      f"{_ACTS}::test_an_existing_name_is_never_written"),
    _("instances run as root", "src/florin/ops/topology/topology.py",
      "            account=self.account,\n        ).wanted()\n\n    def operator",
      "        ).wanted()\n\n    def operator",
      f"{_RUNS}::test_a_process_that_an_older_release_ran_as_root_is_replaced"),
    _("the balancer keeps running as root", "src/florin/ops/haproxy/frontend.py",
      "user=os_user.process_account(os_user.BALANCER),", "user=None,",
      f"{_RUNS}::test_a_process_that_an_older_release_ran_as_root_is_replaced"),
    _("an instance that runs as root is adopted", "src/florin/ops/topology/app_process.py",
      'wiring += f"\\naccount {self.account.uid}"', "pass",
      f"{_RUNS}::test_a_process_that_an_older_release_ran_as_root_is_replaced"),
    _("the application may run every command in Valkey", "src/florin/ops/valkey/users.py",
      "~florin:* &florin:* -@all {_CONNECT}", "~* &* +@all {_CONNECT}",
      "tests/ops/valkey/test_users.py::test_the_application_is_refused_all_else"),
    _("the application may not publish in Valkey", "src/florin/ops/valkey/users.py",
      "+publish +subscribe", "+subscribe",
      "tests/ops/valkey/test_users.py::test_the_application_needs_no_other_right"),
    _("production trusts every proxy", "src/florin/kit/settings/validation.py",
      "    network_rules.open_proxies,\n", "", _SETS),
    _("production connects to Redis without TLS", "src/florin/kit/settings/validation.py",
      "    network_rules.plain_redis,\n", "", _SETS),
    _("production connects to a database without TLS", "src/florin/kit/settings/validation.py",
      "    network_rules.plain_databases,\n", "", _SETS),
)  # fmt: skip

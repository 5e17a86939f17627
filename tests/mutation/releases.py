"""Mutations of releases: the guards of function sets and of migrations."""

from tests.mutation.mutation import without as _

_SETS = "src/florin/kit/postgres/function_sets.py"
_FILES = "src/florin/kit/postgres/sql_release.py"
_MIGRATIONS = "src/florin/kit/postgres/migrations.py"
_EXPAND = "src/florin/kit/postgres/expand_check.py"
_REGISTRY = "src/florin/kit/postgres/process_registry.py"
_TEST_SETS = "tests/kit/postgres/test_function_sets.py"
_TEST_MIGRATIONS = "tests/kit/postgres/test_migrations.py"
_TEST_REGISTRY = "tests/kit/postgres/test_process_registry.py"

RELEASES = (
    _("all releases share one set of functions", _FILES,
      'return f"florin_{digest.hexdigest()[:12]}"', 'return "florin_000000000000"',
      f"{_TEST_SETS}::test_another_release_takes_no_cent_from_this_one"),
    _("grants are not part of the set", _FILES,
      "        digest.update(self.grants.encode())\n", "",
      f"{_TEST_SETS}::test_a_release_that_needs_more_rights_has_them"),
    _("functions of a release may change what others use", _SETS,
      "        if changes:\n", "        if False:\n",
      f"{_TEST_SETS}::test_functions_that_touch_what_others_use_are_not_installed"),
    _("grants may revoke", _SETS,
      "    _require_only_grants(sql.grants)\n", "",
      f"{_TEST_SETS}::test_grants_that_revoke_are_refused"),
    _("only the latest release's grants are applied", _SETS,
      "select name, grants from florin.function_set order by installed_at",
      "select name, grants from florin.function_set order by installed_at desc limit 1",
      f"{_TEST_SETS}::test_a_release_that_needs_fewer_rights_takes_none_away"),
    _("rights that no release needs stay", _SETS,
      "revoke all on all tables in schema florin from {role};\n", "",
      f"{_TEST_SETS}::test_a_release_that_needs_fewer_rights_takes_none_away"),
    _("functions of running processes are removed", _SETS,
      "  and not exists (select from florin.live_process p where p.function_set = s.name)\n", "",
      f"{_TEST_SETS}::test_only_sets_that_nothing_uses_are_removed"),
    _("functions of kept releases are removed", _SETS,
      "where not exists (select from florin.function_set_release r where r.function_set = s.name)",
      "where true", f"{_TEST_SETS}::test_only_sets_that_nothing_uses_are_removed"),
    _("an instance without its functions is ready", _REGISTRY,
      "if not await connection.fetchval(_EXISTS, PACKAGED.set_name):", "if False:",
      f"{_TEST_REGISTRY}::test_functions_that_vanish_are_noticed"),
    _("a process that stops stays registered", _REGISTRY,
      "            await connection.execute(_LEAVE, self._id)", "            pass",
      f"{_TEST_REGISTRY}::test_an_instance_and_a_worker_are_registered_while_they_run"),
    _("a registry that cannot be written stops reads", _REGISTRY,
      "except asyncpg.PostgresError as error:", "except ZeroDivisionError as error:",
      f"{_TEST_REGISTRY}::test_a_record_that_cannot_be_written_stops_no_reads"),
    _("an expand migration may change anything", _EXPAND,
      "    if not changes:\n        return\n", "    return\n", _TEST_MIGRATIONS),
    _("an expand migration may add a trigger to a table in use", _EXPAND,
      "        if added and not", "        if False and not", _TEST_MIGRATIONS),
    _("a contract migration does not wait", _MIGRATIONS,
      "    return None if running is None else", "    return None if True else",
      f"{_TEST_MIGRATIONS}::test_what_is_removed_waits_for_the_processes_that_use_it"),
    _("a release that is too old is migrated", _MIGRATIONS,
      "    if row is not None:\n", "    if False:\n",
      f"{_TEST_MIGRATIONS}::test_what_is_removed_waits_for_the_processes_that_use_it"),
    _("functions of releases that cannot run stay", _MIGRATIONS,
      '        await function_sets.drop_function_set(connection, row["name"])\n',
      "        pass\n",
      f"{_TEST_MIGRATIONS}::test_what_is_removed_waits_for_the_processes_that_use_it"),
    _("a migration keeps everyone waiting behind it", "src/florin/kit/postgres/short_locks.py",
      "WAIT_MS = 200\n", "WAIT_MS = 20_000\n",
      f"{_TEST_MIGRATIONS}::test_a_migration_behind_a_long_select_harms_no_one"),
    _("an invalid index stays", "src/florin/kit/postgres/concurrent_indexes.py",
      "if await connection.fetchval(_INVALID, found[1].lower()):", "if False:",
      f"{_TEST_MIGRATIONS}::test_an_interrupted_index_is_built_again"),
    _("a call of a function is repeated like a read", "src/florin/kit/postgres/database.py",
      "{'|'.join(sorted(PACKAGED.function_names.difference(MAY_CALL)))}", "nothing",
      "tests/kit/postgres/test_retries.py"),
)  # fmt: skip

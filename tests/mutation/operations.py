"""Mutations of operations: supervisor, replicas, backups and restores."""

from tests.mutation.mutation import without as _

SUPERVISOR = "src/florin/ops/supervisor/supervisor.py"
WATCHDOG = "src/florin/ops/supervisor/watchdog.py"
STANDBY = "src/florin/ops/postgres/standby.py"
QUOTING = "src/florin/ops/system/quoting.py"
NAMES = "tests/ops/lifecycle/test_home_names.py"
CLOCK = "tests/ops/fleet/test_clock_jumps.py"
SPECS = "tests/ops/topology/test_fleet_spec.py"
HEALTHY = "src/florin/cli/healthy.py"
HEALTHY_TESTS = "tests/cli/test_healthy.py"
WATCHED = "tests/ops/supervisor/test_watchdog.py"

OPERATIONS = (
    _("an error in the supervisor's own task ends it", WATCHDOG,
      "                if cancelled(error):\n                    raise\n",
      "                raise\n",
      f"{WATCHED}::test_a_part_is_probed_again_after_an_error_of_a_probe"),
    _("a failed start leaves parts running", SUPERVISOR,
      "                if not cancelled(error):\n", "                if False:\n",
      f"{WATCHED}::test_a_part_is_started_again_after_any_error_of_its_start"),
    _("a failed part is never restarted", SUPERVISOR,
      "                async with asyncio.timeout(_RETRY_S):\n",
      "                async with asyncio.timeout(None):\n",
      f"{WATCHED}::test_a_failed_start_is_repeated_without_an_operator"),
    _("an interrupted change stays half done", "src/florin/ops/rollout/executor.py",
      "        except Exception as error:  # noqa: BLE001 -- no failure may leave",
      "        except PartEnded as error:  # noqa: BLE001 -- no failure may leave",
      f"{WATCHED}::test_a_change_that_an_error_interrupts_is_undone"),
    _("the supervisor restarts by the name of its program",
      "src/florin/ops/lifecycle/succession.py",
      "os.execve(sys.executable, words, environ)", "os.execve(sys.orig_argv[0], words, environ)",
      f"{WATCHED}::test_the_supervisor_restarts_when_python_was_found_on_the_path"),
    _("a supervisor is replaced before the options are checked",
      "src/florin/ops/lifecycle/takeover.py",
      "    resolve_fleet_spec(options, observe_fleet(home))\n", "",
      "tests/ops/lifecycle/test_takeover.py"
      "::test_another_database_is_refused_before_anything_ends"),
    _("running instances get another database", "src/florin/ops/topology/fleet_spec.py",
      "    require_same_database(options.database_url, fleet)\n", "", SPECS),
    _("the port of a running server moves", "src/florin/ops/topology/fleet_spec.py",
      "        if part is not None and part.process is not None and key in kept.ports:\n",
      "        if False:\n", SPECS),
    _("the data of an old primary is deleted before the copy", STANDBY,
      "    if not keep and shutil", "    if True or shutil",
      "tests/ops/postgres/test_standby.py"),
    _("replaced data is not put back", STANDBY,
      "    if replaced.exists() and not server.data.exists():\n",
      "    if False:\n",
      "tests/ops/postgres/test_standby.py"
      "::test_an_interrupted_replacement_is_finished_or_undone"),
    _("a percent sign in a path is not escaped for PostgreSQL", QUOTING,
      'shell_word(text).replace("%", "%%")', "shell_word(text)",
      "tests/ops/system/test_quoting.py::test_a_segment_is_archived_and_restored"),
    _("a path is not quoted for the shell", QUOTING, "shlex.quote(str(text))", "str(text)",
      "tests/ops/system/test_quoting.py::test_a_segment_is_archived_and_restored"),
    _("a line break in a setting is not escaped", QUOTING,
      "escaped.replace(\"'\", \"''\")", "text.replace(\"'\", \"''\")",
      "tests/ops/system/test_quoting.py::test_postgresql_reads_a_setting_as_it_was_written"),
    _("a backup is reported without archived WAL", "src/florin/ops/backups/archive_delay.py",
      'while newest().removesuffix(".gz") < segment:', "while False:",
      f"{NAMES}::test_a_backup_without_its_log_is_not_recorded"),
    _("an incomplete release stays on the disk", "src/florin/ops/releases/store.py",
      "        shutil.rmtree(partial, ignore_errors=True)\n"
      '        raise OperatorError(f"{name} could not be stored',
      '        raise OperatorError(f"{name} could not be stored',
      "tests/ops/lifecycle/test_full_disk.py::test_a_release_that_fills_its_disk_changes_nothing"),
    _("WAL is uploaded without encryption", "src/florin/ops/backups/s3.py",
      "name, content = name + SUFFIX, self.key.encrypted(content)", "name += SUFFIX",
      "tests/ops/backups/test_encryption.py"
      "::test_stored_objects_are_encrypted_and_read_back"),
    _("backups are ordered by the clock", "src/florin/ops/backups/base_backup.py",
      "return first_segment(backup, account)[8:], backup.ended",
      'return "", backup.ended',
      f"{CLOCK}::test_a_backup_taken_after_the_clock_was_set_back_is_the_latest"),
    _("a success with a future time counts", "src/florin/ops/backups/status.py",
      "each.at > now + _AHEAD_S", "False", f"{CLOCK}::test_a_success_in_the_future_does_not_count"),
    _("a reused pid is taken for the part", "src/florin/ops/fleet/pid_files.py",
      "processes.parse_stat(process.pid, stat) == process", "True",
      f"{CLOCK}::test_a_part_that_was_just_started_is_found_after_a_clock_jump"),
    _("a container is healthy if it answers an error", HEALTHY,
      "    if status != http.HTTPStatus.OK:\n", "    if False:\n",
      f"{HEALTHY_TESTS}::test_another_answer_than_200_is_unhealthy"),
    _("a container is healthy for the process of another", HEALTHY,
      ' or _text(proc / str(number) / "cgroup") != here', "",
      f"{HEALTHY_TESTS}::test_processes_of_other_containers_do_not_count"),
    _("a worker's container is asked at the port of the API", HEALTHY,
      "    elif role in _ON_OPERATIONS_PORT:\n", "    elif False:\n", HEALTHY_TESTS),
)  # fmt: skip

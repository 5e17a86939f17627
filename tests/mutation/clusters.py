"""Mutations of what runs in clusters: deployments, wanted workers, certificates, secrets."""

from tests.mutation.mutation import without as _

KUBE, DEPLOYED = "src/florin/ops/kubernetes", "tests/ops/kubernetes/test_cluster_deployment.py"
DEPLOYMENT = f"{KUBE}/cluster_deployment.py"
EXPORT = "src/florin/ops/backups/secrets_export.py"
EXPORTED = "tests/ops/backups/test_secrets_export.py"
_FILES = "tests/deploy/test_compose_files.py"
WANTED = "src/florin/ops/autoscaling/wanted_workers.py"
WATCH = "src/florin/ops/haproxy/certificate_watch.py"

CLUSTERS = (
    _("two deployments run in a cluster at once", DEPLOYMENT,
      "await self.kubectl.create([lock])", "pass",
      f"{DEPLOYED}::test_two_at_once_are_refused_and_say_who_deploys"),
    _("a cluster's deployment switches to pods that were not checked", DEPLOYMENT,
      "await check_pods(self.kubectl, await self._pods(goal))", "pass",
      f"{DEPLOYED}::test_blue_green_is_undone_when_a_pod_does_not_pass_its_check"),
    _("a cluster's deployment is not watched", DEPLOYMENT,
      "await watch_pods(self.kubectl, await self._pods(goal), before, order.soak_s)", "pass",
      f"{DEPLOYED}::test_it_switches_back_when_the_new_pods_answer_worse"),
    _("a failed deployment in a cluster is not undone", DEPLOYMENT,
      "            await self._undo(state, goal, image, changed)\n", "",
      f"{DEPLOYED}::test_it_switches_back_when_the_workers_do_not_start"),
    _("a set that is not available counts as ready", f"{KUBE}/colour_set.py",
      "return seen and wanted == updated == there == status", "return True or status",
      f"{DEPLOYED}::test_blue_green_switches_once_when_the_new_set_is_ready"),
    _("a cluster's release starts before its migration is complete",
      f"{KUBE}/migration_job.py",
      'each["type"] == "Failed"', 'each["type"] == "Never"',
      f"{DEPLOYED}::test_nothing_changes_when_the_migration_fails"),
    _("a number of workers is served that was not decided", WANTED,
      "            self.wanted = None\n            return\n",
      "            self.wanted = decision.workers\n            return\n",
      "tests/ops/autoscaling/test_wanted_workers.py"
      "::test_it_answers_503_and_never_a_number_without_the_database"),
    _("a renewed certificate is not loaded", WATCH,
      "if stamp != used:", "if used == ():",
      "tests/ops/haproxy/test_cluster_balancer.py"
      "::test_a_renewed_certificate_is_loaded_and_open_connections_go_on"),
    _("the secrets of another home are overwritten", EXPORT,
      "if there and there != held:", "if False:",
      f"{EXPORTED}::test_nothing_is_overwritten"),
    _("exported secrets are not encrypted", EXPORT,
      "content if key is None else key.encrypted(content)", "content",
      f"{EXPORTED}::test_with_a_key_it_is_encrypted_and_needs_that_key"),
    _("the doctor trusts an export of other secrets",
      "src/florin/ops/diagnostics/secrets_check.py",
      "if not same:", "if False:",
      f"{EXPORTED}::test_the_doctor_warns_until_it_was_done_and_after_a_change"),
    _("instances may not fetch the operator's page in a cluster",
      "deploy/kubernetes/base/network.yaml",
      "metadata: {name: florin-operator-page}\nspec:\n"
      "  podSelector: {matchLabels: {app.kubernetes.io/name: florin-api}}",
      "metadata: {name: florin-operator-page}\nspec:\n"
      "  podSelector: {matchLabels: {app.kubernetes.io/name: florin-worker}}",
      "tests/deploy/test_kubernetes.py"
      "::test_instances_may_fetch_the_page_of_the_operator_process"),
    _("instances ask for the operator's page where none is", "deploy/compose.yaml",
      "http://operator:9000", "http://operator:8001",
      f"{_FILES}::test_instances_reach_the_page_of_the_operator_process"),
    _("Grafana asks where no Prometheus is", "deploy/compose.yaml",
      "url: http://prometheus:9090", "url: http://prometheus:9091",
      f"{_FILES}::test_grafana_finds_its_dashboards_and_prometheus"),
    _("a service of the stack has a config twice", "deploy/render_stack.py",
      "list(last.values())", "files",
      f"{_FILES}::test_the_stack_is_that_of_the_compose_file"),
    _("other users of the host may read the secrets", "deploy/secrets.sh",
      'chmod 700 "$here/secrets"', 'chmod 755 "$here/secrets"',
      f"{_FILES}::test_secrets_that_are_there_are_kept"),
    _("a failover of Patroni may lose acknowledged commits", "deploy/patroni/server.sh",
      "synchronous_mode_strict: true", "synchronous_mode_strict: false",
      f"{_FILES}::test_a_failover_of_patroni_loses_no_acknowledged_commit"),
    _("any service may change who the primary is", "deploy/compose.patroni.yaml",
      "  migrate:\n", "  worker: { networks: [election] }\n  migrate:\n",
      f"{_FILES}::test_only_databases_and_etcd_reach_what_elects_the_primary"),
    _("etcd needs no certificate", "deploy/patroni/etcd.sh",
      " --client-cert-auth \\", " \\",
      f"{_FILES}::test_only_databases_and_etcd_reach_what_elects_the_primary"),
    _("the URLs of an operator's own database are overwritten", "deploy/secrets.sh",
      '    [ -s "$name" ] || "$@" | keep', '    "$@" | keep',
      f"{_FILES}::test_secrets_that_are_there_are_kept"),
)  # fmt: skip

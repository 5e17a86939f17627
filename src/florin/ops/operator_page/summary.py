"""Summary: the state of the fleet in one sentence, and every finding with its runbook. Pure."""

from collections.abc import Iterator

from florin.ops.diagnostics.status import PartStatus
from florin.ops.operator_page.document import Finding, OperatorState, Summary

LAG_LIMIT_S = 10.0
ERRORS_LIMIT = 0.005  # of the answers of the last 30 seconds
_ANSWERS_LEAST = 20  # fewer answers are no share
_MINUTE_S = 60
_RUNS = ("ready", "standby")


def summarize_state(state: OperatorState) -> Summary:
    """Return the summary; `state.summary` is not read."""
    if state.state == "stopped":
        detail = "Start it with florin up." if state.home else "No fleet is known here."
        sentence = "Florin is stopped."
        return Summary(level="stop", sentence=sentence, detail=detail, runbook=None)
    findings = sorted(_findings(state), key=lambda each: each.level != "stop")
    detail = _detail(state)
    if not findings:
        return Summary(level="ok", sentence="All systems operational.", detail=detail, runbook=None)
    first = findings[0]
    sentence = first.text if first.level == "stop" else f"Serving. {first.text}"
    if len(findings) > 1:
        more = len(findings) - 1
        sentence += f" {more} more {'thing needs' if more == 1 else 'things need'} attention."
    return Summary(
        level=first.level,
        sentence=sentence,
        detail=detail,
        runbook=first.runbook,
        findings=findings,
    )


def _findings(state: OperatorState) -> Iterator[Finding]:
    yield from _ledger(state)
    yield from _database(state)
    yield from _serving(state)
    yield from _parts(state)
    yield from _errors(state)
    yield from _queues(state)
    yield from _backups(state)


def _ledger(state: OperatorState) -> Iterator[Finding]:
    if state.books.get("balanced") is False:
        yield _stop("The ledger does not balance.", "ledger-not-balanced")


def _database(state: OperatorState) -> Iterator[Finding]:
    primaries = [part for part in state.parts if part.role == "postgres-primary"]
    silent = state.ages["queues"].error and state.ages["queues"].old
    if primaries and (not any(part.state in _RUNS for part in primaries) or silent):
        read = state.ages["queues"].at if silent else None
        from_ = f" What comes from it is from {read[11:19]} UTC." if read else ""
        yield _stop(f"The database does not answer.{from_}", "database-not-reachable")
    if len(primaries) > 1:
        names = " and ".join(part.name for part in primaries)
        yield _stop(f"{names} are both primaries.", "primary-lost")
    for part in state.parts:
        lag = part.lag
        if part.role != "postgres-replica" or lag is None or part.state not in _RUNS:
            continue
        if lag.seconds is None and lag.bytes != 0:
            yield _warn(f"Replica {part.name} does not say how far it is behind.", "replica-lags")
        elif lag.seconds is not None and lag.seconds > LAG_LIMIT_S:
            yield _warn(
                f"Replica {part.name} is {lag.seconds:.0f} s behind (limit {LAG_LIMIT_S:.0f} s)."
                " Reads go elsewhere.",
                "replica-lags",
            )


def _serving(state: OperatorState) -> Iterator[Finding]:
    instances = [part for part in state.parts if part.role == "api"]
    if instances and not any(part.state in ("ready", "draining") for part in instances):
        yield _stop("No instance of the API answers.", "instance-no-answer")
    for part in state.parts:
        if part.role == "balancer" and part.state not in (*_RUNS, "starting"):
            yield _stop("The balancer does not answer.", "connections-refused")
    workers = [part for part in state.parts if part.role == "worker"]
    if not any(part.state in ("ready", "draining", "starting") for part in workers) and any(
        queue["waiting"] for queue in state.queues
    ):
        yield _stop("No worker runs and jobs wait.", "queue-grows")


def _parts(state: OperatorState) -> Iterator[Finding]:
    bad: dict[str, list[PartStatus]] = {}
    for part in state.parts:
        if part.state in ("failed", "stopped") and part.role != "balancer":
            bad.setdefault(part.role, []).append(part)
    if bad.pop("supervisor", None):
        yield _warn("No supervisor runs: a part that ends is not restarted.", "no-supervisor")
    primaries = bad.pop("postgres-primary", [])
    for role, parts in bad.items():
        text = "; ".join(f"{part.name}: {_reason(part)}" for part in parts[:3])
        more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""  # noqa: PLR2004
        yield _warn(f"{text}{more}.", _RUNBOOKS.get(role, "instance-restarts"))
    del primaries  # `_database` reports them


def _reason(part: PartStatus) -> str:
    if part.state == "failed" and part.health == "failing":
        return "no answer"
    return part.note or part.state


_RUNBOOKS = {
    "postgres-replica": "replica-lags",
    "valkey-primary": "valkey-lost",
    "valkey-replica": "valkey-lost",
    "sentinel": "valkey-lost",
}


def _errors(state: OperatorState) -> Iterator[Finding]:
    traffic = state.traffic
    if state.ages["balancer"].old or traffic.error_share is None or not traffic.requests_s:
        return
    enough = traffic.requests_s * 30 >= _ANSWERS_LEAST
    if enough and traffic.error_share > ERRORS_LIMIT:
        share = f"{traffic.error_share:.1%}"
        yield _stop(f"{share} of requests fail (limit {ERRORS_LIMIT:.1%}).", "overloaded")


def _queues(state: OperatorState) -> Iterator[Finding]:
    if state.ages["queues"].old:
        return
    for queue in state.queues:
        limit = queue["objective_s"]
        if queue["paused"]:
            yield _warn(
                f"Queue {queue['name']} is paused; {queue['waiting']} jobs wait."
                f" Resume it: florin queue resume {queue['name']}.",
                "queue-grows",
            )
        elif limit is not None and queue["oldest_s"] > limit and queue["waiting"]:
            age, most = format_seconds(queue["oldest_s"]), format_seconds(limit)
            yield _warn(
                f"Queue {queue['name']}: the oldest job waits {age} (objective {most}).",
                "queue-grows",
            )
    dead = {queue["name"]: queue["dead"] for queue in state.queues if queue["dead"]}
    if dead:
        listed = ", ".join(f"{count} in {name}" for name, count in dead.items())
        yield _warn(f"Dead jobs: {listed}.", "dead-jobs")


def _backups(state: OperatorState) -> Iterator[Finding]:
    for what, each in state.backups.items():
        if each.get("failing"):
            page = "archive-not-receiving" if what == "shipped" else "backup-overdue"
            yield _warn(f"Backups: not {what} ({each['failing']}).", page)


def _detail(state: OperatorState) -> str:
    serving = [part for part in state.parts if part.role == "api" and part.state != "standby"]
    ready = sum(part.state == "ready" for part in serving)
    words = [f"{ready} of {len(serving)} instances take traffic"]
    traffic = state.traffic
    if traffic.error_share is not None and not state.ages["balancer"].old:
        none = "no request fails" if not traffic.errors_s else f"{traffic.errors_s:.1f} errors/s"
        words.append(none)
    if state.deploy is not None:
        words.append("a change is being carried out")
    return f"{'; '.join(words)}."


def format_seconds(seconds: float) -> str:
    """Return a duration: `0.4 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 - digits that matter
        return f"{round(seconds, 1):g} s"
    minutes, left = divmod(int(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    return f"{left} s"


def _stop(text: str, runbook: str) -> Finding:
    return Finding(text=text, runbook=runbook, level="stop")


def _warn(text: str, runbook: str) -> Finding:
    return Finding(text=text, runbook=runbook, level="warn")

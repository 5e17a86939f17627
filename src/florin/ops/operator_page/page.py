"""Page: renders the state as HTML. Works without JavaScript; nothing comes from another host."""

from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from florin.ops.operator_page import charts, runbooks
from florin.ops.operator_page.document import AlertState, OperatorState
from florin.ops.operator_page.static_files import static_url
from florin.ops.operator_page.summary import format_seconds
from florin.ops.operator_page.topology_view import topology_columns
from florin.ops.postgres.replication_lag import format_lag

_SLOW_S = 0.25  # the objective of 99 % of the answers
_ERRORS_LINE = 0.005
_BACKUP_NAMES = {"taken": "Base backup", "shipped": "Log archive", "verified": "Restore test"}
_SHOWN_ALERTS = 8


@cache
def page_templates() -> Environment:
    folder = files("florin.ops.operator_page").joinpath("templates")
    texts = {each.name: each.read_text("utf-8") for each in folder.iterdir() if each.is_file()}
    made = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": _clock, "hour": _hour, "seconds": format_seconds}
    made.globals["static"] = static_url  # pyright: ignore[reportArgumentType] -- any function
    return made


def _clock(at: str | None) -> str:
    return at[11:19] if at else ""


def _hour(at: str | None) -> str:
    return at[11:16] if at else ""


def render_page(state: OperatorState, *, public: bool = False) -> bytes:
    """`public`: shown by an instance on the public port, which has further pages."""
    text = (
        page_templates()
        .get_template("operator.html")
        .render(
            s=state,
            public=public,
            books=_books(state),
            topology=topology_columns(state),
            tiles=_tiles(state),
            queues=[_queue(queue, state) for queue in state.queues],
            workers_say=_workers(state),
            workers_drawing=charts.spark(
                state.curves.workers, second=state.curves.wanted, height=60
            ),
            replication=[*_replicas(state), *_backups(state)],
            alerts=[_alert(each) for each in (*state.alerts.firing, *state.alerts.ended)][
                :_SHOWN_ALERTS
            ],
            alerts_say=_receivers(state),
        )
    )
    return text.encode()


def render_runbook(name: str) -> bytes | None:
    runbook = runbooks.read_runbook(name)
    if runbook is None:
        return None
    title, body = runbook
    return page_templates().get_template("runbook.html").render(title=title, body=body).encode()


def _books(state: OperatorState) -> dict[str, str]:
    books = state.books
    if books["balanced"] is None:
        detail = "no instance has reported a comparison of its totals"
        return {"level": "warn", "title": "Ledger not checked yet", "detail": detail}
    ago = format_seconds(int(books["checked_s"]))
    detail = f"checked {ago} ago: {books['entries']:,} entries"
    if books["balanced"]:
        return {"level": "ok", "title": f"Ledger balanced{_since(books)}", "detail": detail}
    return {"level": "stop", "title": "The ledger does not balance", "detail": detail}


def _since(books: dict[str, Any]) -> str:
    since = books.get("balanced_since")
    if since is None:  # by a process of an earlier release
        return ""
    at = datetime.fromisoformat(since)
    return f" since {at.day} {at:%B %Y, %H:%M} UTC"


def _tiles(state: OperatorState) -> list[dict[str, Any]]:
    traffic, curves = state.traffic, state.curves
    peak = f"peak of the hour {traffic.peak_s:,.0f}" if traffic.peak_s is not None else ""
    none = "none" if not traffic.hour_errors else f"{traffic.hour_errors:,}"
    return [
        _tile("Requests", traffic.requests_s, "a second", peak, charts.spark(curves.requests_s)),
        _tile(
            "Errors",
            None if traffic.error_share is None else traffic.error_share * 100,
            "%",
            f"{none} of {traffic.hour_requests:,} in an hour; line: {_ERRORS_LINE:.1%}",
            charts.spark(curves.error_share, mark=_ERRORS_LINE),
            digits=2,
        ),
        {
            "name": "Answer time",
            "value": _times(traffic.p50_s, traffic.p99_s),
            "detail": f"p50 and, dashed, p99; objective {_SLOW_S * 1000:.0f} ms",
            "drawing": charts.spark(curves.p50_s, second=curves.p99_s),
        },
        _tile(
            "Processor",
            traffic.cpu,
            f"of {traffic.cores} cores",
            "all parts of the fleet",
            charts.spark(curves.cpu),
            digits=1,
        ),
    ]


def _tile(
    name: str,
    value: float | None,
    unit: str,
    detail: str,
    drawing: Markup,
    *,
    digits: int = 0,
) -> dict[str, Any]:
    number = "–" if value is None else f"{value:,.{digits}f}"  # noqa: RUF001 -- no value
    shown = Markup('{} <span class="small">{}</span>').format(number, unit)
    return {"name": name, "value": shown, "detail": detail, "drawing": drawing}


def _times(p50: float | None, p99: float | None) -> Markup:
    if p50 is None or p99 is None:
        return Markup('– <span class="small">no requests</span>')  # noqa: RUF001 -- no value
    unit = Markup('<span class="small">ms</span>')
    return Markup("{} {} / {} {}").format(f"{p50 * 1000:,.0f}", unit, f"{p99 * 1000:,.0f}", unit)


def _queue(queue: dict[str, Any], state: OperatorState) -> dict[str, Any]:
    limit = queue["objective_s"]
    waiting = state.curves.waiting.get(queue["name"], [])
    return {
        "name": queue["name"],
        "paused": queue["paused"],
        "waiting": f"{queue['waiting']:,}",
        "active": f"{queue['active']:,}",
        "delayed": f"{queue['delayed']:,}",
        "dead": queue["dead"],
        "oldest": format_seconds(queue["oldest_s"]),
        "objective": "none" if limit is None else format_seconds(limit),
        "late": limit is not None and queue["waiting"] and queue["oldest_s"] > limit,
        "drawing": charts.spark(waiting, width=110, height=22, fill=False),
    }


def _workers(state: OperatorState) -> str:
    count = state.workers
    wanted = "" if count.wanted is None else f", {count.wanted} wanted"
    how = "by the queues" if count.automatic else "set by the operator"
    return f"{count.running} {'worker' if count.running == 1 else 'workers'}{wanted}, {how}"


def _replicas(state: OperatorState) -> list[dict[str, str]]:
    replicas = [part for part in state.parts if part.role == "postgres-replica"]
    if not replicas:
        none = {"name": "Replicas of PostgreSQL", "value": "", "coin": "empty", "word": "none"}
        return [none]
    rows: list[dict[str, str]] = []
    for part in replicas:
        behind = part.lag is not None and (part.lag.seconds or 0.0) > 1.0
        coin, word = ("half", "behind") if behind else ("full", "follows")
        if part.lag is None or (part.lag.seconds is None and part.lag.bytes != 0):
            coin, word = "cross", "not known"
        value = format_lag(part.lag)
        rows.append({"name": part.name, "value": value, "coin": coin, "word": word})
    return rows


def _backups(state: OperatorState) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for what, each in state.backups.items():
        age = each["age_s"]
        value = f"{format_seconds(int(age))} old" if age is not None else ""
        coin, word = ("full", "done") if age is not None else ("empty", "never")
        if each["failing"]:
            coin, word = "cross", each["failing"]
        name = _BACKUP_NAMES.get(what, what)
        rows.append({"name": name, "value": value, "coin": coin, "word": word})
    return rows


def _alert(alert: AlertState) -> dict[str, str]:
    coin, word = "cross", f"Since {alert.since[11:16]}"
    if alert.state == "pending":
        coin, word = "wait", f"Pending since {alert.since[11:16]}"
    elif alert.state == "resolved":
        coin, word = "check", f"Ended {(alert.ended or '')[11:16]}"
    if alert.silenced or alert.symptom:
        word += ", silenced" if alert.silenced else ", a symptom"
    sent = [
        f"{each.receiver}: {each.state}"
        + (f" {each.at[11:19]}" if each.at and each.state == "sent" else "")
        + (f" ({each.error})" if each.error else "")
        for each in alert.deliveries
    ]
    return {
        "at": alert.ended or alert.since,
        "coin": coin,
        "word": word,
        "text": alert.summary,
        "runbook": alert.runbook,
        "deliveries": "; ".join(sent) or "no receiver",
    }


def _receivers(state: OperatorState) -> str:
    receivers = state.alerts.receivers
    if not receivers:
        return "no receiver is set"
    return ", ".join(
        each.name if each.state != "failing" else f"{each.name} failing ({each.error})"
        for each in receivers
    )

"""The page: what it shows, what it weighs, and that it needs nothing from elsewhere."""

import re
from pathlib import Path

import msgspec
import pytest

from florin.ops.operator_page import charts, page, static_files
from florin.ops.operator_page.document import OperatorState
from tests.ops.operator_page.states import busy_state, fresh, quiet_state

ROOT = Path(__file__).parents[3]
STATES = {"quiet": quiet_state(), "busy": busy_state()}


def html(state: OperatorState) -> str:
    return page.render_page(state).decode()


@pytest.mark.parametrize("name", STATES)
def test_the_page_with_all_it_loads_weighs_at_most_100_kilobytes(name: str) -> None:
    text = html(STATES[name])
    loaded = set(re.findall(r'(?:src|href)="/operator/static/([^"]+)"', text))
    files = [static_files.static_file(each) for each in loaded]
    [sheet] = [each.body.decode() for each in files if each and each.kind == "text/css"]
    font = static_files.static_file(re.findall(r"url\(([^)]+)\)", sheet)[0])
    assert len(loaded) == 3
    assert font is not None
    weight = len(text) + sum(len(each.body) for each in files if each) + len(font.body)
    assert weight <= 100_000


@pytest.mark.parametrize("name", STATES)
def test_nothing_comes_from_another_host_and_nothing_is_inline(name: str) -> None:
    text = html(STATES[name])
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert "style=" not in text
    assert not re.findall(r"<script>|<style|\son\w+=", text)


def test_the_page_says_what_the_document_says() -> None:
    text = html(STATES["busy"])
    state = STATES["busy"]
    for each in state.parts:
        assert f'data-part="{each.name}"' in text
    for queue in state.queues:
        assert f">{queue['name']}<" in text
    assert "<h1>Serving. " in text
    assert "1 of 4 replaced" in text
    assert "184 MB, 41.0 s behind" in text
    assert "<span>Green · b77c01d</span><span>kept</span>" in text
    assert "<span>Blue · e9129af</span><span>serving</span>" in text
    assert "Ledger balanced since 3 November 2026, 09:14 UTC" in text
    assert "48,211,907 entries" in text
    assert "slack: sent 17:04:12; email: failed (451 busy)" in text
    assert "<b>jana</b> florin scale api=4: done in 2.1 s" in text
    assert 'href="/operator/runbooks/queue-grows"' in text


def test_what_is_older_than_five_seconds_is_shown_as_old() -> None:
    calm = html(STATES["quiet"])
    assert 'class="panel aged"' not in calm
    for source, words in {
        "queues": "Queues are from 17:04:12 UTC, 31 s old",
        "lag": "Lag is from 17:04:12 UTC, 31 s old",
        "balancer": "Requests are from 17:04:12 UTC, 31 s old",
        "instances": "Answer times are from 17:04:12 UTC, 31 s old",
        "health": "Health is from 17:04:12 UTC, 31 s old",
        "fleet": "What the supervisor says is from 17:04:12 UTC, 31 s old",
    }.items():
        text = html(quiet_state(ages=fresh(**{source: 31.0})))
        assert text.count('class="panel aged"') == 1, source
        assert words in text


def test_what_comes_from_the_fleet_is_text_and_never_markup() -> None:
    bad = msgspec.structs.replace(
        quiet_state().parts[4], note="<script>alert(1)</script>", state="failed"
    )
    text = html(quiet_state(parts=[bad], home='"><img src=x>'))
    assert "<script>alert" not in text
    assert "<img" not in text


def test_every_runbook_can_be_read_on_the_page() -> None:
    pages = sorted((ROOT / "docs" / "operations" / "runbooks").glob("*.md"))
    assert len(pages) > 40
    for each in pages:
        found = page.render_runbook(each.stem)
        assert found is not None, each.name
        text = found.decode()
        assert "<h1>" in text
        for target in re.findall(r'href="/operator/runbooks/([^"#]+)', text):
            assert page.render_runbook(target) is not None, (each.name, target)


@pytest.mark.parametrize(
    "name", ["../fleet", "../../../README", "a/b", "", "none-of-this-name", "queue.grows"]
)
def test_only_runbooks_are_served(name: str) -> None:
    assert page.render_runbook(name) is None


def test_a_drawing_needs_two_values_and_stays_in_its_box() -> None:
    assert charts.spark([1.0]) == ""
    drawn = charts.spark([0.0, 5.0, 10.0], mark=20.0)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", str(drawn))]
    assert heights
    assert all(0 <= y <= 40 for y in heights)

"""The runner of mutants. Some mutants are run here, all of them by `florin bench mutants`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import ledger, runner
from tests.mutation.ledger import CONSTRAINTS, MUTATIONS, POST, TOGETHER, Mutation

CHECKOUT = Path(__file__).parents[2]
SOME = ("a sequence number may be used twice",)


def _at_once(*_: object) -> float:
    return 0


def names(test: str) -> tuple[Path, str]:
    path, _, function = test.partition("::")
    return CHECKOUT / path, function


def test_every_mutation_still_finds_its_guard_and_its_tests() -> None:
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS) >= 40
    for each in MUTATIONS:
        text = (CHECKOUT / each.file).read_text("utf-8")
        assert text.count(each.find) == 1, each.name
        assert each.put != each.find, each.name
        for path, function in map(names, each.tests):
            assert path.exists(), each.name
            assert not function or f"def {function}(" in path.read_text("utf-8"), each.name


@pytest.mark.slow
def test_some_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(as_json=True, only=SOME) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["caught"]) == (True, len(SOME))
    assert {one["name"]: one["fate"] for one in document["mutants"]} == dict.fromkeys(
        SOME, "caught"
    )
    assert all(one["by"].startswith("tests/") for one in document["mutants"])


@pytest.mark.slow
def test_a_surviving_mutant_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = Mutation(
        "a word is lost", POST, "-- Post: move the money", "-- Post: move", (TOGETHER,)
    )
    gone = Mutation("its guard has gone", POST, "this was never there", "", (CONSTRAINTS,))
    senseless = Mutation("nothing runs", TOGETHER, "import asyncio\n", "import\n", (TOGETHER,))
    monkeypatch.setattr(runner, "MUTATIONS", (harmless, gone, senseless))
    monkeypatch.setattr(runner, "_run_unbroken", _at_once)
    assert runner.main() == 1
    said = capsys.readouterr()
    assert said.out == "0 of 3 mutants were caught.\n"
    assert "survived a word is lost" in said.err
    assert f"broken   its guard has gone  (its text is in {POST} 0 times" in said.err
    assert "broken   nothing runs" in said.err
    assert ledger.MUTATIONS is MUTATIONS

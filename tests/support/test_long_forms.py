"""Long forms: bin/test lists each, and the files that begin first exist."""

from pathlib import Path

from tests.support import long_forms

CHECKOUT = Path(__file__).parents[2]


def test_every_form_is_one_of_bin_test_and_of_the_guide() -> None:
    program = (CHECKOUT / "bin" / "test").read_text("utf-8")
    guide = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
    for form in long_forms.FORMS:
        assert f"{form}) echo 'tests" in program, form
        assert f"--form {form}" in program, form
        assert f"| `{form}` |" in guide, form


def test_the_files_that_begin_first_exist() -> None:
    missing = [file for file in long_forms.LONGEST_FIRST if not (CHECKOUT / file).is_file()]
    assert not missing


def test_long_files_come_first_and_the_others_keep_their_order() -> None:
    placed = long_forms.order_files(["a", "c", "b", "a", "d"], first=("d", "gone", "b"))
    assert sorted(placed, key=lambda file: placed[file]) == ["d", "b", "a", "c"]

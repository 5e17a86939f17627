"""Programs run as another user: what is reported of their failure."""

import pytest

from florin.ops.system.os_user import error_in


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            """\
pg_basebackup: error: could not write to file: No space left on device
pg_basebackup: error: background process terminated unexpectedly
""",
            "pg_basebackup: error: could not write to file: No space left on device",
        ),
        ("starting\nit failed\n\n", "it failed"),
        ("", "no reason given"),
    ],
)
def test_the_cause_of_a_failure_is_its_first_error(output: str, line: str) -> None:
    assert error_in(output) == line

"""Commit tracking: whether the request in hand may have changed something already.

Until it has, a refusal may promise that nothing happened. Afterwards, when a connection is missing
only to read what the answer tells of, the caller is told to repeat it with the same key.
"""

from contextvars import ContextVar

# A list, so that what a handler's own tasks note is seen by whoever answers for it.
_changed: ContextVar[list[bool] | None] = ContextVar("changed", default=None)


def begin_request() -> None:
    """A request begins; nothing has happened."""
    _changed.set([])


def record_commit() -> None:
    """Something was committed on behalf of the request in hand."""
    noted = _changed.get()
    if noted is not None:
        noted.append(True)


def may_have_changed() -> bool:
    return bool(_changed.get())

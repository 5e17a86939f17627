"""Commit tracking: whether the current request may have committed a change.

Before its first commit, a refusal may state that nothing happened. After it, when no connection is
available to read the response's data, the caller must repeat the request with the same key.
"""

from contextvars import ContextVar

# A mutable list: what tasks of a route record is visible to the middleware that answers.
_changed: ContextVar[list[bool] | None] = ContextVar("changed", default=None)


def begin_request() -> None:
    """Begin a request: nothing is committed."""
    _changed.set([])


def record_commit() -> None:
    """Record a commit of the current request."""
    commits = _changed.get()
    if commits is not None:
        commits.append(True)


def may_have_changed() -> bool:
    return bool(_changed.get())

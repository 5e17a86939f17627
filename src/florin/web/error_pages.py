"""Error pages: every refusal and fault of a page as HTML, with what it means for the money."""

from collections.abc import Mapping
from typing import Any

from florin.kit.http.asgi import Scope
from florin.kit.http.middleware import problem_json
from florin.web.environment import POLICY, render_template
from florin.web.forms import PageForm
from florin.web.languages import choose_language
from florin.web.local_paths import local_path, referring_page
from florin.web.origin_check import is_page
from florin.web.visitors import keep_header

# What the same form may be sent for again, as it is.
_REPEATED = frozenset(("outcome_unknown", "overloaded", "rate_limited"))
_KIND = b"text/html; charset=utf-8"


def show_problem(scope: Scope, problem: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The media type and body of an error: a page outside the API, for any Accept."""
    if not is_page(scope["path"]):
        return problem_json(scope, problem)
    keep_header(scope, (b"content-security-policy", POLICY.encode()))
    return _KIND, render_problem(scope, problem)


def render_problem(scope: Scope, problem: Mapping[str, Any]) -> bytes:
    headers = dict(scope["headers"])
    language = choose_language(headers.get(b"accept-language", b"").decode("latin-1"))
    is_form = scope["method"] == "POST"
    query = scope["query_string"].decode("latin-1")
    path = local_path(f"{scope['path']}?{query}" if query else scope["path"], "/")
    return render_template(
        "error.html",
        language,
        status=int(problem["status"]),
        code=problem.get("code", ""),
        detail=problem.get("detail", ""),
        request_id=problem.get("request_id", scope.get("request_id", "")),
        path=path,
        is_form=is_form,
        again=referring_page(scope) if is_form else path,
        # With the same key, so that what has happened does not happen twice.
        fields=_repeated(scope) if is_form and problem.get("code") in _REPEATED else [],
    ).encode()


def _repeated(scope: Scope) -> list[tuple[str, str]]:
    form = scope.get("page_form")
    return form.repeatable() if isinstance(form, PageForm) else []

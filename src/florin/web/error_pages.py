"""Error pages: every refusal and fault of a page as HTML, with what it means for the money."""

from collections.abc import Mapping
from typing import Any

from florin.kit.http.asgi import Scope
from florin.kit.http.middleware import problem_json
from florin.web.environment import POLICY, render_template
from florin.web.languages import choose_language
from florin.web.origin_check import is_page
from florin.web.visitors import keep_header

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
    return render_template(
        "error.html",
        language,
        status=int(problem["status"]),
        code=problem.get("code", ""),
        detail=problem.get("detail", ""),
        request_id=problem.get("request_id", scope.get("request_id", "")),
        path=scope["path"],
    ).encode()

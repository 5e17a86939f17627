"""Document: completes the framework's OpenAPI document with exact schemas, required scopes, all
headers and refusals, and an example of each request and response.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from florin.kit.errors import OutcomeUnknown, Refusal, TooLarge, UnsupportedEncoding
from florin.kit.openapi.examples import ID, TEXTS, example_value, problem_example
from florin.kit.openapi.responses import Problem
from florin.kit.openapi.texts import HEADERS, INTRODUCTION, PARAMETERS, SECURITY, TAGS

Json = dict[str, Any]
_REF = "#/components/schemas/{name}"
_PAGE = re.compile(r"Page_(\w+)_")
_LINE = re.compile(r"^`(\w+)`: (.*)\Z")
_KEY_REQUIRED = "`idempotency_key_required`"


def complete_document(
    app: Litestar,
    *,
    base: str,
    needs: Mapping[str, str],
    server: str,
    scoped: Sequence[type[Refusal]] = (),
) -> Json:
    """Return the whole document; `scoped`: further refusals of the routes that require a scope.

    Raises LookupError for a route that is missing from `needs`.
    """
    document: Json = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    handlers = list(_documented(app))
    kinds = [kind for _, _, handler in handlers for kind in _kinds(handler) if kind is not None]
    shapes, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_REF)
    known = dict(zip([*map(repr, kinds), "problem"], map(_named, shapes), strict=True))
    schemas = {_list_name(name): _named(shape) for name, shape in components.items()}
    document["components"] = {
        "schemas": dict(sorted(schemas.items())),
        "headers": HEADERS,
        "parameters": PARAMETERS,
        "securitySchemes": SECURITY,
    }
    document["info"] |= {
        "description": INTRODUCTION,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }
    document["servers"] = [{"url": server}]
    used: list[str] = []
    for path, method, handler in handlers:
        name = f"{method} {path.removeprefix(base)}"
        if name not in needs:
            raise LookupError(f"{name}: add its required scope to florin.routes.NEEDS")
        operation: Json = document["paths"][path][method.lower()]
        tag = path.removeprefix(base).split("/")[1]
        used.append(tag)
        operation["tags"] = [tag]
        body, answer = _kinds(handler)
        _add_access(operation, path.removeprefix(base), method, needs[name])
        _bodies(operation, known.get(repr(body)), known.get(repr(answer)), schemas)
        reads = method == "GET" or needs[name].endswith(":read")
        more = scoped if ":" in needs[name] else ()
        _refusals(operation, known["problem"], more, reads=reads)
        _headers(operation, writes=not reads)
    document["tags"] = [
        {"name": tag, "description": TAGS.get(tag, tag)} for tag in dict.fromkeys(used)
    ]
    return document


def _documented(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema():
                    for method in handler.http_methods - {"OPTIONS"}:
                        yield route.path_format, str(method), handler


def _kinds(handler: HTTPRouteHandler) -> tuple[Any, Any]:
    """The types of a route's request body and of its response."""
    data, answer = handler.parsed_data_field, handler.parsed_return_field
    body = None if data is None else data.annotation
    if answer.is_subclass_of(Response):
        if not answer.inner_types:
            return body, str  # a file
        answer = answer.inner_types[0]
    return body, answer.annotation


def _list_name(name: str) -> str:
    return _PAGE.sub(r"\1List", name)


def _named(shape: Any) -> Any:
    """Name generic lists by their items, in references, too."""
    text = msgspec.json.encode(shape).decode()
    named = msgspec.json.decode(re.sub(r'(#/components/schemas/)Page_(\w+)_"', r'\1\2List"', text))
    for name, field in named.get("properties", {}).items():
        if name.endswith("_at"):  # msgspec omits the format of a datetime without a time zone
            for each in (field, *field.get("anyOf", ())):
                if each.get("type") == "string":
                    each["format"] = "date-time"
    return named


def _add_access(operation: Json, path: str, method: str, need: str) -> None:
    """Add the required scope and the parameters of an operation."""
    scopes = [need] if ":" in need else []
    operation["security"] = [] if need == "public" else [{"bearer": scopes}]
    if scopes:
        text = operation.get("description") or ""
        operation["description"] = f"{text}\n\nRequires the scope `{need}`.".strip()
    answers: Json = operation["responses"]
    keyed = _KEY_REQUIRED in answers.get("400", {}).get("description", "")
    parameters: list[Json] = []
    for each in operation.get("parameters", ()):
        shape = {k: v for k, v in each["schema"].items() if k not in {"oneOf", "description"}}
        options = [one for one in each["schema"].get("oneOf", ()) if one.get("type") != "null"]
        each["schema"] = _without_null({**(options[0] if options else {}), **shape})
        if each["name"] == "Idempotency-Key":
            each["required"] = keyed and not path.startswith("/redemptions")
            each["schema"] |= {"maxLength": 255, "pattern": "^[ -~]*$"}
            each["schema"] |= {"minLength": 1} if each["required"] else {}
        if method == "GET" and each["in"] == "query" and not each.get("required"):
            _allow_empty(each)
        each["example"] = _example_of(path, each)
        parameters.append(each)
    names = ["request_id", *(("consistency",) if method == "GET" else ())]
    operation["parameters"] = parameters + [
        {"$ref": f"#/components/parameters/{name}"} for name in names
    ]


def _allow_empty(parameter: Json) -> None:
    """Document that an empty parameter counts as left out (florin.kit.http.query)."""
    parameter["allowEmptyValue"] = True
    shape: Json = parameter["schema"]
    shape.pop("minLength", None)
    if "enum" in shape:
        shape["enum"] = [*shape["enum"], ""]
    if "pattern" in shape:
        shape["pattern"] = f"^$|{shape['pattern']}"


def _without_null(shape: Json) -> Json:
    """The schema of a parameter that is present: a URL has no null; bounds become integers."""
    if isinstance(shape.get("type"), list):
        shape["type"] = next(each for each in shape["type"] if each != "null")
    if "enum" in shape:
        shape["enum"] = [each for each in shape["enum"] if each is not None]
    bounds = {name: int(shape[name]) for name in ("minimum", "maximum") if name in shape}
    return shape | bounds


def _example_of(path: str, parameter: Json) -> Any:
    if parameter["in"] == "path" and parameter["schema"].get("type") == "integer":
        return 1
    if parameter["in"] == "path":
        noun = path.split("/")[1]
        if noun == "hooks":
            return "default"  # the installation's own gateway
        return f"{ID.get(noun, 'obj')}_{ID['']}"
    return example_value(parameter["schema"], parameter["name"], {})


def _bodies(operation: Json, request: Any, response: Any, schemas: Json) -> None:
    if "requestBody" in operation and request is not None:
        content = {"schema": request, "example": example_value(request, "", schemas)}
        operation["requestBody"]["content"] = {"application/json": content}
    for status, answer in operation["responses"].items():
        if int(status) < 300:  # noqa: PLR2004 -- success
            answer["description"] = "Success."
            if response is not None and "application/json" in answer.get("content", {}):
                content = {"schema": response, "example": example_value(response, "", schemas)}
                answer["content"] = {"application/json": content}
            for kind, example in TEXTS.items():
                if kind in answer.get("content", {}):
                    content = {"schema": {"type": "string"}, "example": example}
                    answer["content"] = {kind: content}


def _refusals(operation: Json, problem: Any, more: Sequence[type[Refusal]], *, reads: bool) -> None:
    answers: Json = operation["responses"]
    framework = answers.get("400", {})
    if "application/problem+json" not in framework.get("content", {}):
        answers.pop("400", None)  # Florin answers 422 with its own document instead
    if "requestBody" in operation:
        for refusal in (TooLarge, UnsupportedEncoding):
            description = f"`{refusal.code}`: {refusal.title()}"
            answers[str(refusal.status)] = {"description": description}
    for refusal in (*more, *(() if reads else (OutcomeUnknown,))):
        documented = answers[str(refusal.status)]
        if f"`{refusal.code}`" not in documented["description"]:
            documented["description"] += f"\n\n`{refusal.code}`: {refusal.title()}"
    for status, answer in answers.items():
        if int(status) >= 400:  # noqa: PLR2004 -- refusals
            lines = [_LINE.match(line) for line in answer["description"].split("\n\n")]
            examples = {
                line.group(1): {"value": problem_example(int(status), line.group(1), line.group(2))}
                for line in lines
                if line is not None
            }
            answer["content"] = {
                "application/problem+json": {"schema": problem, "examples": examples}
            }
    operation["responses"] = dict(sorted(answers.items()))


def _headers(operation: Json, *, writes: bool) -> None:
    keyed = any(each.get("name") == "Idempotency-Key" for each in operation["parameters"])
    for status, answer in operation["responses"].items():
        names = ["X-Request-Id"]
        names += ["Florin-Consistency"] * (writes and int(status) < 500)  # noqa: PLR2004
        names += ["Idempotency-Replayed"] * (keyed and status.startswith("2"))
        names += {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}.get(
            status, []
        )
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}

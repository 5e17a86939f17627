"""Page: the OpenAPI document as an HTML page, without scripts and without other hosts."""

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from florin.kit.errors import Refusal
from florin.kit.http import static_files

Node = Mapping[str, Any]

# Content-Security-Policy of the page: no scripts, forms or frames.
POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_METHODS = ("get", "post", "patch", "put", "delete")


def render_page(document: Node, *, base: str, example_host: str) -> str:
    """Render the document. Each refusal has its code as anchor; a problem's `type` links to it."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        name = path.removeprefix(base).strip("/").split("/")[0]
        for method in _METHODS:
            if method in operations:
                shown = _operation(document, path, method, operations[method], example_host)
                groups.setdefault(name, []).append(shown)
    menu = "".join(f'<a href="#{name}">{escape(_title(name))}</a>' for name in groups)
    body = "".join(
        f'<section id="{name}"><h2>{escape(_title(name))}</h2>{"".join(shown)}</section>'
        for name, shown in groups.items()
    )
    title = f"{escape(document['info']['title'])} API {escape(document['info']['version'])}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>"
        f'<link rel="stylesheet" href="{static_files.static_url("docs.css")}"></head><body>'
        f'<nav aria-label="Contents"><strong>{title}</strong>{menu}'
        '<a href="#refusals">Refusals</a><a href="openapi.json">OpenAPI 3.1</a></nav>'
        f"<main><h1>{title}</h1>{_INTRODUCTION.format(base=escape(base))}{body}{_refusals()}</main></body></html>"
    )


_INTRODUCTION = """\
<ul>
<li>All paths begin with <code>{base}</code>; requests and responses are JSON.</li>
<li>In the examples <code>$FLORIN_URL</code> is the address of Florin, and
<code>$FLORIN_KEY</code> an API key.</li>
<li>Authenticate with <code>Authorization: Bearer flk_…</code>, an API key, or with an access
token.</li>
<li>Amounts are integers in the currency's minor unit: 1000 in EUR is ten euros.</li>
<li>Requests that create objects or move money need an <code>Idempotency-Key</code> header that you
choose: a request that is repeated with the same key happens once.</li>
<li>A list returns up to <code>limit</code> objects, newest first; for the next page send the last
id as <code>starting_after</code>.</li>
<li>Every refusal is a problem document with a stable <code>code</code>: see
<a href="#refusals">refusals</a>.</li>
</ul>"""


def _operation(document: Node, path: str, method: str, operation: Node, host: str) -> str:
    anchor = f"{method}{re.sub(r'[^a-z0-9]+', '-', path.lower())}"
    parts = [
        f'<article id="{anchor}"><h3><a href="#{anchor}">{escape(operation["summary"])}</a></h3>',
        f'<p class="route"><b class="{method}">{method.upper()}</b>',
        f" <code>{escape(path)}</code></p>",
    ]
    if operation.get("description"):
        parts.append(f"<p>{_prose(operation['description'])}</p>")
    parameters = [
        _parameter(document, _resolve(document, each)) for each in operation.get("parameters", ())
    ]
    if parameters:
        parts.append(_table("Parameters", parameters))
    body = _schema_of(document, operation.get("requestBody", {}))
    if body is not None:
        parts.append(_table("Body", _fields(document, body)))
    parts.append(_example(path, method, operation, body, host))
    parts.append(_answers(document, operation))
    return "".join([*parts, "</article>"])


def _parameter(document: Node, parameter: Node) -> tuple[str, str, str]:
    word = _kind(document, parameter["schema"])
    need = "required" if parameter.get("required") else parameter["in"]
    return parameter["name"], f"{word}, {need}", parameter.get("description", "")


def _fields(document: Node, schema: Node) -> list[tuple[str, str, str]]:
    required = set(schema.get("required", ()))
    rows: list[tuple[str, str, str]] = []
    for name, field in schema.get("properties", {}).items():
        kind = _kind(document, field)
        if name in required:
            kind += ", required"
        elif field.get("default") is not None:
            kind += f", default {json.dumps(field['default'])}"
        rows.append((name, kind, field.get("description", "")))
        inner = _resolve(document, field)
        if inner is not field:
            rows += [(f"{name}.{n}", k, w) for n, k, w in _fields(document, inner)]
    return rows


def _kind(document: Node, schema: Node) -> str:
    """A short description of a schema."""
    if "$ref" in schema:
        return _kind(document, _resolve(document, schema))
    for many in ("oneOf", "anyOf"):
        if many in schema:
            kinds = [_kind(document, each) for each in schema[many]]
            return " or ".join(kind for kind in kinds if kind)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"] if each is not None)
    kinds: list[Any] = schema.get("type", "object")
    words = [str(each) for each in ([kinds] if isinstance(kinds, str) else kinds)]
    word = schema.get("format") or " or ".join(word for word in words if word != "null")
    if word == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    if "minimum" in schema and "maximum" in schema:
        word += f" {schema['minimum']:,.0f} … {schema['maximum']:,.0f}".replace(
            ",", "\N{NO-BREAK SPACE}"
        )
    elif "maxLength" in schema:
        word += f", at most {schema['maxLength']} characters"
    return word


def _example(path: str, method: str, operation: Node, schema: Node | None, host: str) -> str:
    """The request as a curl command; `schema` is that of its body."""
    lines = [f"curl {host}{path.replace('{', '').replace('}', '')}"]
    if method not in {"get", "post"} or (method == "post" and schema is None):
        lines.append(f"  -X {method.upper()}")
    if "401" in operation["responses"]:
        lines.append('  -H "Authorization: Bearer $FLORIN_KEY"')
    if any(each.get("name") == "Idempotency-Key" for each in operation.get("parameters", ())):
        lines.append('  -H "Idempotency-Key: $(uuidgen)"')
    if schema is not None:
        (media,) = operation["requestBody"]["content"].values()
        body = media["example"]
        lines.append("  -H 'Content-Type: application/json'")
        lines.append(f"  -d '{json.dumps(body, ensure_ascii=False)}'")
    return "<pre>" + escape(" \\\n".join(lines)) + "</pre>"


def _answers(document: Node, operation: Node) -> str:
    rows: list[tuple[str, str, str]] = []
    for status, answer in operation["responses"].items():
        schema = _schema_of(document, answer)
        if int(status) < 400:  # noqa: PLR2004 -- success
            name = schema.get("title", "") if schema is not None else "nothing"
            rows.append((status, name, ""))
            continue
        for line in answer.get("description", "").split("\n\n"):
            code, _, title = line.partition(": ")
            rows.append((status, code.strip("`"), title))
    cells = "".join(
        f"<tr><td>{escape(status)}</td><td>{_linked(name, text)}</td><td>{_prose(text)}</td></tr>"
        for status, name, text in rows
    )
    return f"<details><summary>Answers</summary><table>{cells}</table></details>"


def _linked(name: str, title: str) -> str:
    """The name of a schema, or the code of a refusal with a link to its row."""
    shown = f"<code>{escape(name)}</code>"
    return f'<a href="#{escape(name)}">{shown}</a>' if title else shown


def _refusals() -> str:
    """The table of all refusals."""
    known: dict[str, type[Refusal]] = {}
    waiting = [Refusal]
    while waiting:
        for each in waiting.pop().__subclasses__():
            known[each.code] = each
            waiting.append(each)
    rows = "".join(
        f'<tr id="{code}"><td>{known[code].status}</td><td><code>{code}</code></td>'
        f"<td>{_prose(known[code].title())}</td></tr>"
        for code in sorted(known, key=lambda code: (known[code].status, code))
    )
    bug = "Internal error: a bug in Florin; search its log for the request id."
    return (
        '<section id="refusals"><h2>Refusals</h2><table>'
        f'{rows}<tr id="internal_error"><td>500</td><td><code>internal_error</code></td>'
        f"<td>{bug}</td></tr></table></section>"
    )


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{_prose(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<h4>{title}</h4><table>{cells}</table>"


def _schema_of(document: Node, content: Node) -> Node | None:
    """The schema of a request or response body; of an optional one without null."""
    for media in content.get("content", {}).values():
        schema = media.get("schema")
        if schema is None:
            continue
        either = (*schema.get("oneOf", ()), *schema.get("anyOf", ()))
        options = [each for each in either if each.get("type") != "null"]
        return _resolve(document, options[0] if options else schema)
    return None


def _resolve(document: Node, schema: Node) -> Node:
    while "$ref" in schema:
        _, _, kind, name = schema["$ref"].split("/")
        schema = document["components"][kind][name]
    return schema


def _prose(text: str) -> str:
    """Escaped text, with `code` as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _title(name: str) -> str:
    return {"api-keys": "API keys", "auth": "Authentication"}.get(
        name, name.replace("-", " ").capitalize()
    )

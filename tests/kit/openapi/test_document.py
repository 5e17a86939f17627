"""The OpenAPI document: it is complete, and every example matches its schema."""

import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
import jsonschema_rs
import pytest

from florin.kit.errors import Refusal
from tests.support.instance import Instance

Json = dict[str, Any]
METHODS = {"get", "post", "patch", "put", "delete"}


@pytest.fixture(scope="module")
def document(api: Instance) -> Json:
    return httpx.get(f"{api.base}/api/v1/openapi.json").json()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, found in document["paths"].items():
        for method in METHODS & set(found):
            yield f"{method.upper()} {path}", found[method]


def resolved(document: Json, node: Json) -> Json:
    if "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        return document["components"][kind][name]
    return node


def check(document: Json, schema: Json, value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


def test_every_request_and_answer_has_a_valid_example(document: Json) -> None:
    looked_at = 0
    for name, operation in operations(document):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer.get("content", {}) for answer in operation["responses"].values()]
        for content in contents:
            for media in content.values():
                examples = [each["value"] for each in media.get("examples", {}).values()]
                examples += [media["example"]] if "example" in media else []
                assert examples, name
                for example in examples:
                    check(document, media["schema"], example)
                    looked_at += 1
        for parameter in operation["parameters"]:
            found = resolved(document, parameter)
            check(document, found["schema"], found["example"])
    assert looked_at > 300


def test_every_operation_documents_its_scope_and_refusals(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    tags = {each["name"]: each["description"] for each in document["tags"]}
    seen: set[str] = set()
    for name, operation in operations(document):
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        assert operation["summary"], name
        assert all(tags[tag] != tag for tag in operation["tags"]), "say what the tag is"
        answers = set(operation["responses"])
        assert "security" in operation
        if operation["security"]:
            assert {"401", "403"} <= answers, name
        wanted = {"429", "503", *(["413", "415"] if "requestBody" in operation else [])}
        wanted |= {"404"} if "{" in name else set()
        assert wanted <= answers, name
        looks = {"POST /api/v1/cards/lookup", "POST /api/v1/orders/bulk/check"}
        reads = name.startswith("GET") or name in looks
        unknown = "outcome_unknown" in operation["responses"]["503"]["description"]
        assert unknown is not reads, name
        for status, answer in operation["responses"].items():
            assert "X-Request-Id" in answer["headers"]
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], name
                assert "`" in answer["description"]


def test_every_documented_refusal_exists(document: Json) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, while it is imported
        import_module("florin.app")  # it imports all refusals
    known: dict[str, type[Refusal]] = {}
    waiting: list[type[Refusal]] = [Refusal]
    while waiting:
        for each in waiting.pop().__subclasses__():
            known[each.code] = each
            waiting.append(each)
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media in answer["content"].values():
                for code in media.get("examples", {}):
                    assert known[code].status == int(status), (name, code)


def test_an_empty_filter_is_documented_as_left_out(document: Json) -> None:
    seen = 0
    for name, operation in operations(document):
        for parameter in operation["parameters"]:
            found = resolved(document, parameter)
            if found["in"] != "query" or found.get("required"):
                continue
            assert found.get("allowEmptyValue", False) is name.startswith("GET"), name
            if found["schema"]["type"] == "string" and name.startswith("GET"):
                if "format" not in found["schema"]:
                    check(document, found["schema"], "")
                seen += 1
    assert seen > 10

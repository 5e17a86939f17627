"""Reference: docs/operations/settings.md and .env.example, generated from the variables."""

from importlib.resources import files
from typing import Any, Literal, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from florin.kit.settings import settings

Kind = Literal["example", "page"]
_EMPTY: tuple[Any, ...] = (None, (), PydanticUndefined)  # the last: made when it is read


def render_reference(kind: Kind) -> str:
    return _page() if kind == "page" else _example()


def _page() -> str:
    parts = [files("florin.kit.settings").joinpath("page.md").read_text("utf-8")]
    for section in settings.SECTIONS:
        parts.append(f"## {section.__doc__}\n\n| variable | default | meaning |\n|---|---|---|")
        for field in section.model_fields.values():
            choices = _choices(field)
            one_of = f" One of {', '.join(f'`{each}`' for each in choices)}." if choices else ""
            meaning = f"{field.description}{one_of}".replace("|", "\\|")
            parts.append(f"| `{field.validation_alias}` | {_default(field)} | {meaning} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _example() -> str:
    parts = [
        "# Every variable of Florin; see docs/operations/settings.md.",
        "# Commented-out variables are optional.",
        "# Never commit a file with real values.",
    ]
    for section in settings.SECTIONS:
        parts.append(f"\n# --- {section.__doc__} ---\n")
        for field in section.model_fields.values():
            choices = _choices(field)
            meaning = f"# {field.description}"
            parts.append(meaning + (f" ({', '.join(choices)})" if choices else ""))
            needed = field.is_required() or field.validation_alias == "DATABASE_URL"
            parts.append(f"{'' if needed else '#'}{field.validation_alias}={_value(field)}")
    return "\n".join(parts) + "\n"


def _choices(field: FieldInfo) -> tuple[str, ...]:
    kinds = get_args(field.annotation)  # of a variable without a default, None is one of them
    names = [each for kind in kinds for each in (kind, *get_args(kind)) if isinstance(each, str)]
    return tuple(names)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default in _EMPTY else f"`{field.default}`"


def _value(field: FieldInfo) -> str:
    default: Any = field.default
    if field.examples:
        return str(field.examples[0])
    return "" if field.is_required() or default in _EMPTY else str(default)

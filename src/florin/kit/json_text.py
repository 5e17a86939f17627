"""JSON text: values for jsonb parameters of statements."""

import msgspec


def json_text(value: object) -> str:
    """JSON with sorted keys, so that equal values have equal text."""
    return msgspec.json.encode(value, order="sorted").decode()

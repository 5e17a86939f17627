"""Samples: the samples of selected metrics in Prometheus' text format."""

import re
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def read_samples(text: str, names: Iterable[str]) -> list[Sample]:
    """Return the samples with these names. Raises ValueError for text in another format.

    Other lines are left out before they are parsed: a fleet has thousands of them.
    """
    wanted = frozenset(names)
    lines = [line for line in text.splitlines() if _name(line) in wanted]
    document = "\n".join((*lines, ""))
    return [
        sample for family in text_string_to_metric_families(document) for sample in family.samples
    ]


def _name(line: str) -> str:
    name = _NAME.match(line)
    return name.group() if name else ""

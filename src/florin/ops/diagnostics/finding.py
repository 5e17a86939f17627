"""Finding: one finding of the doctor."""

from typing import Literal

import msgspec

Topic = Literal["db", "config", "fleet"]
Result = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, what to do."""

    topic: Topic
    name: str
    result: Result
    said: str

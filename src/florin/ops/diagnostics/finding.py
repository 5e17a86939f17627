"""Finding: one finding of the doctor."""

from typing import Literal

import msgspec

Topic = Literal["db", "config", "fleet"]
Result = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One result: the topic and name of the check, its result, and a message with advice."""

    topic: Topic
    name: str
    result: Result
    message: str

"""Import parser: what the lines of an imported file say, read strictly, and what is wrong with
some.

The first line names the columns, in any order. Of a code nothing is ever repeated.
"""

import csv
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from uuid import UUID

import msgspec

from florin.cards import codes
from florin.cards.card import Recipient
from florin.cards.jobs.job import LineError
from florin.kit import ids
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import AMOUNT_MAX

COLUMNS = ("program", "amount", "code", "currency", "recipient_name", "recipient_email")
CHUNK = 1000  # lines that are read and kept together
LINE_MAX = 8192  # bytes
_AMOUNT = re.compile(r"[0-9]{1,13}")

Line = tuple[int, bytes]  # its number in the file, and what stands there


class ImportRow(msgspec.Struct, array_like=True, frozen=True):
    """A card to be made. Without a code it is given one."""

    line: int
    program: UUID
    amount: int
    code: str | None = None
    name: str | None = None
    email: str | None = None


class ImportPart(msgspec.Struct):
    """Lines that were read together. `count`, `amount`: of all of them, for the control totals."""

    rows: list[ImportRow]
    errors: list[LineError]
    count: int
    amount: int


class ProgramFacts(msgspec.Struct, frozen=True):
    currency: str
    pin: bool


class LineRefused(Exception):
    """What is wrong with a line, for whoever wrote it."""


async def split_lines(blocks: AsyncIterator[bytes]) -> AsyncGenerator[list[Line]]:
    """Cut what arrives into lines, some at a time. Raises InvalidRequest."""
    rest, number, ready = b"", 0, list[Line]()
    async for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        if any(len(each) > LINE_MAX for each in (*whole, rest)):
            raise InvalidRequest(f"a line after line {number} is longer than {LINE_MAX} bytes")
        for each in whole:
            number += 1
            if each.strip():
                ready.append((number, each))
            if len(ready) == CHUNK:
                yield ready
                ready = []
    if rest.strip():
        ready.append((number + 1, rest))
    if ready:
        yield ready


class ImportReader:
    """Reads lines of one file. `default` is the program of lines that name none."""

    def __init__(
        self, head: bytes, programs: Mapping[UUID, ProgramFacts], default: UUID | None
    ) -> None:
        """Raises InvalidRequest."""
        try:
            names = [name.strip().lower() for name in _fields(head.removeprefix(b"\xef\xbb\xbf"))]
        except LineRefused as wrong:
            raise InvalidRequest(f"line 1: {wrong}") from None
        for name in names:
            if name not in COLUMNS or names.count(name) > 1:
                known = ", ".join(COLUMNS)
                detail = f"the first line names each column once; they are {known}"
                raise InvalidRequest(detail, param=name[:100] if name.isprintable() else None)
        if "amount" not in names:
            raise InvalidRequest("the first line names no column amount", param="amount")
        if "program" not in names and default is None:
            raise InvalidRequest("say which program: by a column, or in the query", param="program")
        self._names, self._programs, self._default = names, programs, default

    def read(self, these: list[Line]) -> ImportPart:
        part = ImportPart(rows=[], errors=[], count=len(these), amount=0)
        for number, text in these:
            try:
                said = self._said(text)
                part.amount += int(said["amount"]) if _AMOUNT.fullmatch(said["amount"]) else 0
                part.rows.append(self._row(number, said))
            except LineRefused as wrong:
                part.errors.append(LineError(line=number, detail=str(wrong)))
        return part

    def _said(self, text: bytes) -> dict[str, str]:
        fields = _fields(text)
        if len(fields) != len(self._names):
            raise LineRefused(f"there are {len(fields)} fields, not {len(self._names)}")
        return dict(zip(self._names, (field.strip() for field in fields), strict=True))

    def _row(self, number: int, said: Mapping[str, str]) -> ImportRow:
        amount = int(said["amount"]) if _AMOUNT.fullmatch(said["amount"]) else 0
        if not 1 <= amount <= AMOUNT_MAX:
            raise LineRefused("amount: this is no whole number of the minor unit, 1 to 10^12")
        program = ids.parse_id("prg", said["program"]) if said.get("program") else self._default
        facts = self._programs.get(program) if program is not None else None
        if program is None or facts is None:
            raise LineRefused("program: there is no such program")
        if said.get("currency") and said["currency"] != facts.currency:
            raise LineRefused(f"currency: the program's is {facts.currency}")
        try:
            code = codes.read_code(said["code"]) if said.get("code") else None
        except codes.CodeMalformed as malformed:
            raise LineRefused(f"code: {malformed.detail}") from None
        name, email = said.get("recipient_name") or None, said.get("recipient_email") or None
        try:
            msgspec.convert({"name": name, "email": email}, Recipient)
        except msgspec.ValidationError as wrong:
            what, _, where = str(wrong).partition(" - at `$.")
            raise LineRefused(f"recipient_{where.removesuffix('`')}: {what}") from None
        return ImportRow(number, program, amount, code, name, email)


def _fields(text: bytes) -> list[str]:
    """Raises Wrong."""
    try:
        decoded = text.rstrip(b"\r").decode()
        found = next(csv.reader([decoded], strict=True))
    except UnicodeDecodeError:
        raise LineRefused("this is not UTF-8") from None
    except (csv.Error, StopIteration):
        raise LineRefused("a quotation mark is missing or in the wrong place") from None
    if any(symbol in decoded for symbol in "\0\r"):
        raise LineRefused("there is a character that no text has")
    return found

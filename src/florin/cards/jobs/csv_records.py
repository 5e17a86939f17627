"""CSV records: split the blocks of a file into records, and detect the separator of columns.

As in RFC 4180, a line break within quotation marks is part of its record. Lines may end in CR LF,
LF or CR. The separator is a comma, a semicolon or a tab: the one in a first line such as `sep=;`,
or the one that gives the most known columns in the first line. Each byte is read a fixed number of
times, and the length of a record is limited.
"""

import codecs
import csv
import re
from collections.abc import AsyncGenerator, AsyncIterator, Container
from typing import NamedTuple

from florin.kit.errors import InvalidRequest

RECORD_MAX = 8192  # bytes
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_BOM = b"\xef\xbb\xbf"
_SEP = re.compile(rb'"?sep=(.?)"?', re.IGNORECASE)
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# A quotation mark opens a field only where the field begins.
_OPENS = {each: re.compile(rb'(?:\A|%s)"' % each.encode()) for each in SEPARATORS}
_CLOSES = re.compile(rb'(?:[^"]|"")*+"')


class Record(NamedTuple):
    """A record as it was sent; `line` is the number of its first line in the file."""

    line: int
    text: bytes


class NotCsv(Exception):
    """A record that cannot be parsed; the message says why."""


class RecordSplitter:
    """Splits one file. `separator` is set when its first record has been split."""

    def __init__(self, columns: Container[str]) -> None:
        self.separator: str | None = None
        self._columns = columns
        self._named: str | None = None  # by a line `sep=`
        self._rest = b""  # of a line that has not ended
        self._line = 0  # lines that have ended
        self._open: list[bytes] = []  # lines of a record whose quotation marks are open
        self._size = 0  # bytes of them

    def feed(self, block: bytes) -> list[Record]:
        """The records that end in this block. Raises InvalidRequest."""
        data = self._rest + block
        # A CR at the very end may be the first half of a CR LF.
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(0, len(data) - 1))) + 1
        self._rest = data[cut:]
        records = [record for text in data[:cut].splitlines() for record in self._next_line(text)]
        self._check_size(len(self._rest), self._line + 1)
        return records

    def end(self) -> list[Record]:
        """The last record, where no line break ends it. Raises InvalidRequest."""
        records = [record for text in self._rest.splitlines() for record in self._next_line(text)]
        if self._open:
            records.append(self._closed())
        return records

    def _next_line(self, text: bytes) -> list[Record]:
        self._line += 1
        if self._line == 1:
            text = text.removeprefix(_BOM)
        self._check_size(len(text), self._line)
        if not self._open:
            if not text.strip(b" "):
                return []
            if self.separator is None and self._is_separator_line(text):
                return []
        is_open = bool(self._open)
        if self.separator is None and not is_open:
            self.separator = self._named or _detected(text, self._columns)
        self._open.append(text)
        self._size += len(text) + 1
        if b'"' in text:
            is_open = _stays_open(text, self.separator or ",", is_open)
        return [] if is_open else [self._closed()]

    def _closed(self) -> Record:
        record = Record(self._line - len(self._open) + 1, b"\n".join(self._open))
        self._open, self._size = [], 0
        return record

    def _is_separator_line(self, text: bytes) -> bool:
        match = _SEP.fullmatch(text)
        if match is None or self._line > 1:
            return False
        named = match.group(1).decode(errors="replace")
        if named not in SEPARATORS:
            expected = ", ".join(SEPARATORS.values())
            raise InvalidRequest(f"line 1: the separator that sep= names must be one of {expected}")
        self._named = named
        return True

    def _check_size(self, more: int, line: int) -> None:
        """Refuse a record that gets too long with `more` bytes of this line."""
        if self._size + more <= RECORD_MAX:
            return
        if self._open:
            first = line - len(self._open)
            raise InvalidRequest(
                f"line {first}: its quotation mark is not closed within {RECORD_MAX} bytes"
            )
        raise InvalidRequest(f"line {line} is longer than {RECORD_MAX} bytes")


async def split_records(
    blocks: AsyncIterator[bytes], splitter: RecordSplitter, most: int
) -> AsyncGenerator[list[Record]]:
    """The records of a file, at most `most` at a time. Raises InvalidRequest."""
    ready: list[Record] = []
    async for block in blocks:
        ready += splitter.feed(block)
        while len(ready) >= most:
            yield ready[:most]
            ready = ready[most:]
    ready += splitter.end()
    for start in range(0, len(ready), most):
        yield ready[start : start + most]


async def to_utf8(blocks: AsyncIterator[bytes], encodings: list[str]) -> AsyncGenerator[bytes]:
    """The blocks of a file, in UTF-8 if a byte-order mark says that they are UTF-16, as in "Unicode
    text" of spreadsheets. The encoding is added to `encodings`. Raises InvalidRequest.
    """
    decoder: codecs.IncrementalDecoder | None = None
    begin = b""
    async for block in blocks:
        if not encodings:
            begin += block
            if len(begin) < len(_BOM):
                continue
            block, begin = begin, b""  # noqa: PLW2901 -- with what came before
            decoder = _decoder(block, encodings)
        yield _utf8(block, decoder)
    if begin:
        yield begin
    encodings.extend([] if encodings else ["utf-8"])


def _decoder(begin: bytes, encodings: list[str]) -> codecs.IncrementalDecoder | None:
    name = _UTF16.get(begin[:2])
    encodings.append("utf-8" if name is None else "utf-16")
    return None if name is None else codecs.getincrementaldecoder(name)()


def _utf8(block: bytes, decoder: codecs.IncrementalDecoder | None) -> bytes:
    if decoder is None:
        return block
    try:
        return decoder.decode(block).encode()
    except UnicodeError:
        raise InvalidRequest("the file begins as UTF-16 but is not; save it in UTF-8") from None


def parse_fields(text: bytes, separator: str) -> list[str]:
    """The fields of a record. Raises NotCsv."""
    return split_fields(decode_record(text)[0], separator)


def decode_record(text: bytes) -> tuple[str, bool]:
    """The text of a record, and whether it is not UTF-8 but Windows-1252. Raises NotCsv."""
    try:
        return text.decode(), False
    except UnicodeDecodeError:
        pass
    try:
        return text.decode("cp1252"), True
    except UnicodeDecodeError:
        raise NotCsv(
            "this is neither UTF-8 nor Windows-1252; save the file as CSV in UTF-8"
        ) from None


def split_fields(text: str, separator: str) -> list[str]:
    """The fields of a record. Raises NotCsv."""
    try:
        fields = next(csv.reader([text], delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        raise NotCsv(
            "a quotation mark is missing or in the wrong place; a field is quoted as a whole, and"
            ' within it " is written ""'
        ) from None
    return fields


def _stays_open(text: bytes, separator: str, is_open: bool) -> bool:
    """Whether the record goes on after this line."""
    at = 0
    while True:
        if is_open:
            closing = _CLOSES.match(text, at)
            if closing is None:
                return True
            at, is_open = closing.end(), False
        opening = _OPENS[separator].search(text, at)
        if opening is None:
            return False
        at, is_open = opening.end(), True


def _detected(head: bytes, columns: Container[str]) -> str:
    """The separator that makes the most known columns of the first line; else a comma."""

    def known(separator: str) -> int:
        names = head.decode(errors="replace").lower().split(separator)
        return sum(name.strip().strip('"').strip() in columns for name in names)

    return max(SEPARATORS, key=known)

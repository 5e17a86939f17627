"""Quoting: a text, such as a path, inside a configuration or a command that is generated.

A path may hold any character but NUL. What quotes it depends on who reads it; where several do,
one after the other, the innermost reader's quoting comes first.
"""

import shlex

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shell_word(text: object) -> str:
    """One word of a command that /bin/sh reads."""
    return shlex.quote(str(text))


def postgres_command_word(text: object) -> str:
    """One word of archive_command or restore_command: PostgreSQL replaces %p and %f, then sh reads.

    As a value of a setting the whole command is quoted again where it is written into a file.
    """
    return shell_word(text).replace("%", "%%")


def postgres_value(text: str) -> str:
    """A value in postgresql.conf, in its quotes. A raw line break would end the line."""
    escaped = "".join(_ESCAPES.get(each, each) for each in text)
    return "'" + escaped.replace("'", "''") + "'"


def valkey_word(text: object) -> str:
    """A word in a configuration of Valkey or a Sentinel, in its quotes."""
    escaped = "".join(_ESCAPES.get(each, each) for each in str(text))
    return '"' + escaped.replace('"', '\\"') + '"'

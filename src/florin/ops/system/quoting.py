"""Quoting: quote a text, such as a path, in a generated configuration or command.

A path may contain any character except NUL. The quoting depends on the program that parses it; if
several do in turn, the quoting for the last one is applied first.
"""

import shlex

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shell_word(text: object) -> str:
    """Return one word of a command for /bin/sh."""
    return shlex.quote(str(text))


def postgres_command_word(text: object) -> str:
    """Return one word of archive_command or restore_command: PostgreSQL replaces %p and %f in it,
    then a shell parses it.

    As the value of a setting the whole command is quoted again when it is written into a file.
    """
    return shell_word(text).replace("%", "%%")


def postgres_value(text: str) -> str:
    """Return a quoted value for postgresql.conf. A raw line break would end the line."""
    escaped = "".join(_ESCAPES.get(each, each) for each in text)
    return "'" + escaped.replace("'", "''") + "'"


def valkey_word(text: object) -> str:
    """Return a quoted word for a configuration of Valkey or a Sentinel."""
    escaped = "".join(_ESCAPES.get(each, each) for each in str(text))
    return '"' + escaped.replace('"', '\\"') + '"'

"""Usage errors: describe a wrong command line in one sentence that says what to do."""

import re

import typer

_PYDANTIC = re.compile(r"^Value error, ")


def usage_sentence(error: typer.TyperException) -> str:
    """The mistake, and the command that shows the valid options."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "florin"
    return f"{_wrong(error)}; {command} --help shows what may be given."


def is_help(error: typer.TyperException) -> bool:
    """Whether no arguments were given: the message is the help text."""
    return type(error).__name__ == "NoArgsIsHelpError"  # typer does not export the class


def _wrong(error: typer.TyperException) -> str:
    said = _PYDANTIC.sub("", error.message.strip()).removesuffix(".")
    said = said.replace("Input should be", "must be").partition(", unable to parse")[0]
    option = getattr(error, "option_name", None)
    if hasattr(error, "possibilities"):
        meant = " or ".join(sorted(getattr(error, "possibilities", None) or ()))
        return f"there is no option {option}" + (f" (is {meant} meant?)" if meant else "")
    if isinstance(error, typer.BadParameter):
        hint = error.param_hint or (error.param.get_error_hint() if error.param else "")
        name = (hint if isinstance(hint, str) else ", ".join(hint)).replace("'", "")
        name = name if name.startswith("-") else name.upper()  # as the help calls an argument
        if hasattr(error, "param_type"):
            return f"{name} is missing"
        return f"{name}: {said}" if name else said
    return said[:1].lower() + said[1:]

"""Command line: `florin up`, `status`, `down` and the rest."""

import signal
import sys
from collections.abc import Sequence

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A usage error is reported in one sentence."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["api"]:
        # An instance runs for months: do not load the command line into its memory.
        from florin.cli.lazy_import import run_api

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # stopping during start-up is no error
        return run_api()
    if words == ["keep-mails"]:
        from florin.ops.mailbox.main import main as keep_mails

        return keep_mails()
    if words == ["healthy"]:
        from florin.cli import healthy

        return healthy.main()
    import typer

    from florin.cli import usage_errors
    from florin.cli.commands import app
    from florin.ops.system.console import OperatorError, voice

    try:
        code = app(words, prog_name="florin", standalone_mode=False)
    except OperatorError as error:
        voice.clear()
        print(f"florin: {error}", file=sys.stderr)
        return 1
    except typer.TyperException as error:
        said = (
            error.message
            if usage_errors.is_help(error)
            else f"florin: {usage_errors.usage_sentence(error)}"
        )
        print(said, file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        voice.clear()
        return _INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return code if isinstance(code, int) else 0

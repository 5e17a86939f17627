"""Supervisor reports: unexpected errors of the supervisor itself, sent to Sentry if configured."""

from florin.kit.observability import error_reports
from florin.kit.settings import InvalidSettings, read_variable
from florin.ops.fleet.options import UpOptions
from florin.ops.releases import version
from florin.ops.system.console import OperatorError


def start_supervisor_reports(options: UpOptions) -> None:
    """Report unexpected errors of the supervisor where SENTRY_DSN is set. Raises
    OperatorError.
    """
    try:
        dsn = read_variable("SENTRY_DSN", options.environ)
        error_reports.start_reports(
            dsn,
            release=version.current_version(options.checkout) if dsn else "",
            environment=options.environ.get("FLORIN_ENV") or "development",
            instance="supervisor",
        )
    except InvalidSettings as error:
        raise OperatorError(f"{error}.") from None
    except ModuleNotFoundError:
        raise OperatorError(
            "SENTRY_DSN needs a package that is not installed: pip install 'florin[telemetry]'."
        ) from None

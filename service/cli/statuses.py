"""Exit statuses: no command ends with a traceback, unless it has a bug."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


class WrongSetting(click.ClickException):
    """An option or a setting is wrong; the text is one sentence."""

    exit_code = 2


@contextmanager
def exit_statuses() -> Iterator[None]:
    """End without a traceback at Ctrl-C (130), and where a package of the extra is missing (1)."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "rich":
            raise
        raise click.ClickException(
            "this command needs more packages: pip install 'rt-audio-pipeline[client]'"
        ) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BaseExceptionGroup as group:
        # A nursery wraps both Ctrl-C and the SystemExit of a SIGTERM during the start.
        if group.subgroup(SystemExit) is not None:
            raise SystemExit(0) from None
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise SystemExit(130) from None

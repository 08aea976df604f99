"""`rt-audio serve`."""

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import click

from service.cli.statuses import WrongSetting, exit_statuses

if TYPE_CHECKING:
    from service.config import Settings
    from service.server import Ports


def _exit_early(number: int, frame: FrameType | None) -> None:
    """End the process at once; later the service's drain takes the signal instead."""
    raise SystemExit(0)


class _Listening:
    """A `trio.TaskStatus` that says, once the service listens: to systemd, and on a terminal."""

    def __init__(self, settings: "Settings") -> None:
        shown = settings.console and settings.log_format != "json" and sys.stderr.isatty()
        self._settings = settings if shown else None

    def started(self, value: "Ports | None" = None) -> None:
        _notify_systemd(b"READY=1")
        if self._settings is not None and value is not None:
            settings, (public, admin) = self._settings, value
            url = settings.url(public) if admin is None else settings.admin_url(admin)
            click.echo(f"Open {url} in a browser. Ctrl-C ends it.", err=True)


def _notify_systemd(state: bytes) -> None:
    """Tell systemd about this process, if it started it with `Type=notify` (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
            systemd.sendto(state, address.replace("@", "\0", 1))


# The options take any text here, because Settings alone says which values are allowed.
@click.command()
@click.option("--host", help="Address to listen on (RT_AUDIO_HOST).")
@click.option("--port", help="TCP port; 0 lets the system choose (RT_AUDIO_PORT).")
@click.option("--handler", help="Who answers: echo, or module:function (RT_AUDIO_HANDLER).")
@click.option("--log-level", help="debug, info, warning or error (RT_AUDIO_LOG_LEVEL).")
@click.option("--reload", is_flag=True, help="Start again when a *.py file here has changed.")
@click.pass_context
@exit_statuses()
def serve(
    context: click.Context,
    host: str | None,
    port: str | None,
    handler: str | None,
    log_level: str | None,
    reload: bool,
) -> None:
    """Serve until SIGTERM, which lets calls finish, or SIGINT.

    Everything else is set in the environment, by the RT_AUDIO_* variables of the README.
    """
    # The kernel ignores SIGTERM for a container's first process unless the process has a handler.
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, _exit_early)
    # Until the service takes them, these would end the process. There is nothing to reload yet.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)

    # These imports take seconds. Here they do not delay --help, and Ctrl-C ends them quietly.
    import trio

    from service import logs
    from service.config import ConfigurationError, Settings
    from service.server import serve as serve_until_signal

    try:
        settings = Settings.load(host=host, port=port, handler=handler, log_level=log_level)
        logs.set_up(settings.log_level, settings.log_format)
        run = _run_again_and_again() if reload else trio.run
        in_full = run(partial(serve_until_signal, settings, task_status=_Listening(settings)))
        # All is over: a signal from now on would only spoil the exit status.
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    except ConfigurationError as error:
        raise WrongSetting(str(error)) from None
    context.exit(0 if in_full else 1)


def _run_again_and_again() -> Callable[[Callable[[], Awaitable[bool]]], bool]:
    """Return what runs a service until its code has changed, and then starts it again."""
    try:
        from service.cli.reload import run
    except ImportError:
        raise WrongSetting(
            "--reload needs watchfiles: pip install 'rt-audio-pipeline[reload]'"
        ) from None
    return run

"""`rt-audio stream`: options, progress and the report."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from service.cli import options, rows
from service.cli.statuses import exit_statuses
from service.dialects.book import DIALECTS

if TYPE_CHECKING:
    from service.client.dial import ClientError


_FILE = click.Path(path_type=Path)
#: Options that a call in a provider's dialect has no use for, and those of such a call alone.
_WITHOUT_DIALECT = ("reply", "reply_rate", "codec", "reconnect")
_WITH_DIALECT = ("sample_rate", "from_", "to", "parameters")


@click.command()
@click.argument("file", metavar="FILE.wav", type=_FILE)
@options.url
@click.option(
    "--dialect",
    type=click.Choice(tuple(DIALECTS)),
    help="Call as this provider does, at /ws/DIALECT unless --url says where.",
)
@click.option(
    "--encoding",
    type=options.ENCODING,
    help="What to send.  [default: as in the file, or the dialect's own]",
)
@click.option("--reply", type=options.ENCODING, help="What to get back.  [default: as it was sent]")
@click.option("--reply-rate", type=int, help="Samples a second to get back.  [default: as sent]")
@click.option("--codec", help="Codec tier to ask for: audioop, numpy or pure_python.")
@click.option("--sample-rate", type=int, help="With --dialect: samples a second, both ways.")
@click.option("--from", "from_", metavar="NUMBER", help="With --dialect: who calls.")
@click.option("--to", metavar="NUMBER", help="With --dialect: who is called.")
@click.option(
    "--param",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=options.named,
    help="With --dialect: a parameter of the call's user; may be given again.",
)
@click.option("--digits", default="", callback=options.keys, help="Keys to press at the start.")
@options.token
@click.option("--out", type=_FILE, metavar="BACK.wav", help="Write what comes back here.")
@click.option(
    "--frame-ms",
    type=options.Positive(),
    default=20,
    help="Frame length.  [default: 20, or as the dialect's]",
)
@click.option(
    "--speed",
    type=options.Positive(),
    default=1,
    show_default=True,
    help="1 is real time, 2 twice it.",
)
@click.option(
    "--reconnect",
    is_flag=True,
    help="Call again after a lost call, until 30 seconds have passed without a reply.",
)
@click.pass_context
@exit_statuses()
def stream(
    context: click.Context,
    file: Path,
    url: str,
    dialect: str | None,
    encoding: str | None,
    reply: str | None,
    reply_rate: int | None,
    codec: str | None,
    sample_rate: int | None,
    from_: str | None,
    to: str | None,
    parameters: dict[str, str],
    digits: str,
    token: str | None,
    out: Path | None,
    frame_ms: float,
    speed: float,
    reconnect: bool,
) -> None:
    """Stream a mono WAV file of 16-bit PCM or G.711, and print a report on its replies.

    Where a handler answers, the call goes on until it hangs up, or until nothing is heard for five
    seconds after the file.

    The query of the URL may have the parameters of the service; an option must agree with it.

    With --dialect this is a fake telephone, in the provider's format unless --encoding or
    --sample-rate ask for another one of its formats.
    """
    import trio

    from service.audio import wav
    from service.client.dial import ClientError
    from service.client.phone import Phone, PhoneReport
    from service.client.stream import Stream

    _check(context, dialect)
    if dialect is not None and _is_default(context, "url"):
        url = url.replace("/ws/audio", f"/ws/{dialect}")
    call: Phone | Stream
    try:
        audio = wav.read(file)
        if out is not None:
            wav.check_writable(out)
        with _progress(file.name, audio.seconds) as (advance, say):
            if dialect is None:
                call = Stream(
                    audio,
                    url,
                    encoding=encoding,
                    reply=reply,
                    codec=codec,
                    reply_rate=reply_rate,
                    digits=digits,
                    token=token,
                    frame_ms=frame_ms,
                    speed=speed,
                    reconnect=reconnect,
                    on_reply=advance,
                    on_loss=lambda error, wait: say(_loss(error, wait)),
                    on_message=say,
                )
            else:
                call = Phone(
                    audio,
                    url,
                    DIALECTS[dialect],
                    encoding=encoding,
                    sample_rate=sample_rate,
                    from_=from_ or "",
                    to=to or "",
                    parameters=parameters,
                    digits=digits,
                    token=token,
                    frame_ms=None if _is_default(context, "frame_ms") else frame_ms,
                    speed=speed,
                    on_frame=advance,
                    on_message=say,
                )
            ending = trio.run(_ending, call.run)
    except (ClientError, wav.WavError) as error:
        raise click.ClickException(str(error)) from None
    report = call.report()
    told = (
        rows.called(report)
        if isinstance(report, PhoneReport)
        else rows.streamed(report, reconnect=reconnect)
    )
    for name, value in told.items():
        click.echo(f"{name:10}  {value}")
    sentences = [str(ending)] if isinstance(ending, ClientError) else []
    if out is not None and report.audio.data:
        try:
            wav.write(out, report.audio)
        except wav.WavError as error:
            sentences.append(str(error))
    for sentence in sentences:
        click.echo(f"Error: {sentence}", err=True)
    if isinstance(ending, KeyboardInterrupt):
        raise ending
    context.exit(1 if sentences else 0)


def _check(context: click.Context, dialect: str | None) -> None:
    """Raise UsageError for an option that has no use with, or without, a dialect."""
    useless = _WITH_DIALECT if dialect is None else _WITHOUT_DIALECT
    for option in context.command.params:
        if option.name in useless and not _is_default(context, option.name):
            fit = "needs" if dialect is None else "has no use with"
            raise click.UsageError(f"{option.opts[0]} {fit} --dialect.")


def _is_default(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT


async def _ending(
    run: "Callable[[], Awaitable[object]]",
) -> "ClientError | KeyboardInterrupt | None":
    """Run the call, and return the reason for an early end.

    Ctrl-C cancels the stream, and a cancelled stream closes its call properly.
    """
    import trio

    from service.client.dial import ClientError

    ending: ClientError | KeyboardInterrupt | None = None
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def interrupt() -> None:
                nonlocal ending
                await anext(signals)
                ending = KeyboardInterrupt()
                nursery.cancel_scope.cancel()

            nursery.start_soon(interrupt)
            try:
                await run()
            except ClientError as error:
                ending = error
            nursery.cancel_scope.cancel()
    return ending


@contextmanager
def _progress(
    name: str, seconds: float
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show a bar on standard error, if that is a terminal.

    Yields two functions: one for each reply, and one that prints a line above the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    # The bar is drawn right after a reply, when no frame is due for most of a frame time. A refresh
    # thread could hold the interpreter when a reply comes, and spoil the round trip.
    with Progress(
        *columns, console=console, auto_refresh=False, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(f"{name}, {seconds:.1f} s", total=None)
        drawn = 0.0

        def advance(done: int, total: int) -> None:
            nonlocal drawn
            now = perf_counter()
            if done == total or now - drawn >= 0.1:
                drawn = now
                bar.update(task, completed=done, total=total, refresh=True)

        yield advance, partial(console.print, markup=False, highlight=False, soft_wrap=True)


def _loss(error: "ClientError", wait: float | None) -> str:
    return str(error) if wait is None else f"{error}; trying again in {wait:.1f} s"

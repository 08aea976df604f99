"""`rt-audio stream`: options, progress and the report."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.statuses import exit_statuses

if TYPE_CHECKING:
    from service.client.dial import ClientError
    from service.client.roundtrips import Report
    from service.client.stream import Stream
    from service.client.twoway import Heard


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", metavar="FILE.wav", type=_FILE)
@options.url
@click.option("--encoding", type=options.ENCODING, help="What to send.  [default: as in the file]")
@click.option("--reply", type=options.ENCODING, help="What to get back.  [default: as it was sent]")
@click.option("--reply-rate", type=int, help="Samples a second to get back.  [default: as sent]")
@click.option("--codec", help="Codec tier to ask for: audioop, numpy or pure_python.")
@options.token
@click.option("--out", type=_FILE, metavar="BACK.wav", help="Write what comes back here.")
@click.option(
    "--frame-ms", type=options.Positive(), default=20, show_default=True, help="Frame length."
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
    encoding: str | None,
    reply: str | None,
    reply_rate: int | None,
    codec: str | None,
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
    """
    import trio

    from service.audio import wav
    from service.client.dial import ClientError
    from service.client.stream import Stream

    try:
        audio = wav.read(file)
        if out is not None:
            wav.check_writable(out)
        with _progress(file.name, audio.seconds) as (advance, say):
            stream = Stream(
                audio,
                url,
                encoding=encoding,
                reply=reply,
                codec=codec,
                reply_rate=reply_rate,
                token=token,
                frame_ms=frame_ms,
                speed=speed,
                reconnect=reconnect,
                on_reply=advance,
                on_loss=lambda error, wait: say(_loss(error, wait)),
                on_message=say,
            )
            ending = trio.run(_ending, stream)
    except (ClientError, wav.WavError) as error:
        raise click.ClickException(str(error)) from None
    report = stream.report()
    if report.heard is not None:
        _table(_talk(report, report.heard))
    elif report.frames_sent:
        _table(_figures(report, reconnect=reconnect))
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


async def _ending(stream: "Stream") -> "ClientError | KeyboardInterrupt | None":
    """Run the stream, and return the reason for an early end.

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
                await stream.run()
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


def _table(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        click.echo(f"{name:10}  {value}")


def _talk(report: "Report", heard: "Heard") -> dict[str, str]:
    """Return how a two-way call went, row by row."""
    return {
        "codec": str(report.codec),
        "sent": f"{heard.sent_seconds:.1f} s, then {heard.silence_seconds:.1f} s of silence",
        "heard": f"{report.audio.seconds:.1f} s",
        "cleared": f"{heard.cleared_seconds:.1f} s in {heard.clears} clears",
        "marks": f"{heard.marks} heard",
        "messages": f"{heard.messages}",
        "ended": heard.ending,
    }


def _figures(report: "Report", reconnect: bool) -> dict[str, str]:
    """Return the figures of the round trips, row by row."""
    codec = report.codec or "not said"
    if report.asked_for is not None and report.asked_for.lower() != report.codec:
        codec += f" (asked for: {report.asked_for})"
    times = (
        f"p50 {report.p50_ms:.2f}, p95 {report.p95_ms:.2f}, p99 {report.p99_ms:.2f}, "
        f"max {report.max_ms:.2f} ms"
    )
    rows = {
        "codec": codec,
        "frames": f"{report.frames_sent:,} sent, {report.frames_received:,} received",
        "bytes": f"{report.bytes_sent:,} sent, {report.bytes_received:,} received",
        "round trip": times if report.frames_received else "no reply came",
        "gaps": f"{report.gaps} over {2 * report.frame_ms:g} ms; "
        f"the longest pause was {report.longest_pause_ms:.1f} ms",
    }
    if report.warning is not None:
        rows["warning"] = report.warning
    if reconnect:
        longest = max(report.reconnects_ms, default=0.0)
        rows["reconnects"] = (
            f"{len(report.reconnects_ms)}; the longest took {longest:.1f} ms; "
            f"frames unanswered: {report.frames_unanswered}"
        )
    return rows

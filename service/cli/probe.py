"""`rt-audio probe`: options, and the figures for people, for programs and for Prometheus."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli import options
from service.cli.statuses import WrongSetting, exit_statuses

if TYPE_CHECKING:
    from service.client.probe import Result


@click.command()
@options.url
@click.option("--reply", type=options.ENCODING, help="What to get back.  [default: the same bytes]")
@options.token
@click.option(
    "--timeout",
    type=options.Positive(),
    default=10,
    show_default=True,
    help="Seconds that the whole call may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--textfile",
    type=click.Path(path_type=Path),
    metavar="FILE.prom",
    help="Write the figures as metrics, for node_exporter's textfile collector.",
)
@click.pass_context
@exit_statuses()
def probe(
    context: click.Context,
    url: str,
    reply: str | None,
    token: str | None,
    timeout: float,
    as_json: bool,
    textfile: Path | None,
) -> None:
    """Make one call of two seconds, and check that its audio comes back right to the bit.

    The exit status is 0 if it does, 1 if the service failed, and 2 if no call could be made of
    these options or the metrics could not be written.
    """
    import trio

    from service.client.dial import ClientError
    from service.client.probe import Probe
    from service.client.textfile import write

    try:
        result = trio.run(Probe(url, reply=reply, token=token, timeout=timeout).run)
        if textfile is not None:
            write(textfile, result, time.time())
    except ClientError as error:
        raise WrongSetting(str(error)) from None
    except OSError as error:
        raise WrongSetting(f"{textfile} cannot be written: {error.strerror or error}") from None
    if as_json:
        click.echo(json.dumps(asdict(result) | {"frames_lost": result.frames_lost}))
    else:
        _print(result)
    if result.failure is not None:
        click.echo(f"Error: {result.failure}", err=True)
    context.exit(0 if result.failure is None else 1)


def _print(result: "Result") -> None:
    """Print the figures as a table of two columns."""
    steps = [f"{name} {1000 * took:.2f}" for name, took in result.steps_seconds.items()]
    rows = {
        "target": result.target,
        "session": result.session,
        "codec": result.codec,
        "steps": ", ".join(steps) + " ms" if steps else None,
        "round trip": _times(result),
        "frames": f"{result.frames_sent} sent, {result.frames_received} received, "
        f"{result.frames_lost} lost",
        "audio": "right to the bit" if result.failure is None else None,
    }
    for name, value in rows.items():
        if value is not None:
            click.echo(f"{name:10}  {value}")


def _times(result: "Result") -> str | None:
    times = {
        "p50": result.round_trip_p50_seconds,
        "p99": result.round_trip_p99_seconds,
        "max": result.round_trip_max_seconds,
    }
    known = [f"{name} {1000 * took:.2f}" for name, took in times.items() if took is not None]
    return ", ".join(known) + " ms" if known else None

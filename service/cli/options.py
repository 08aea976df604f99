"""The options that `stream` and `probe` have in common."""

import math
from typing import Any

import click

from service.audio.encodings import ENCODINGS
from service.dialects.events import DIGITS


class Positive(click.FloatRange):
    """A number above 0 that is not infinite; click's own range lets `nan` pass."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def keys(context: click.Context, option: click.Parameter, value: str) -> str:
    """Return the keys of a telephone; raise BadParameter."""
    if not set(value) <= DIGITS:
        raise click.BadParameter("a telephone has the keys 0 to 9, *, # and A to D.")
    return value


def named(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Return the values by name of texts such as `name=value`; raise BadParameter."""
    parted = {value: value.partition("=") for value in values}
    for value, (name, equals, _) in parted.items():
        if not (name and equals):
            raise click.BadParameter(f"{value!r} is not a name, an equals sign and a value.")
    return {name: value for name, _, value in parted.values()}


ENCODING = click.Choice(ENCODINGS)

url = click.option(
    "--url", default="ws://localhost:8001/ws/audio", show_default=True, help="The service."
)
# Every user of the machine sees a command's arguments, but not its environment.
token = click.option(
    "--token",
    envvar="RT_AUDIO_TOKEN",
    help="Bearer token, if the service needs one; better in the variable RT_AUDIO_TOKEN.",
)

"""The options that `stream` and `probe` have in common."""

import math
from typing import Any

import click

from service.audio.encodings import ENCODINGS


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

"""A handler for tests, `tests.peers.stand_in:answer`: whatever function a test has put here."""

from collections.abc import Awaitable, Callable

from service.handlers import Call

Bot = Callable[[Call], Awaitable[None]]

NAME = "tests.peers.stand_in:answer"
bot: Bot


async def answer(call: Call) -> None:
    await bot(call)


def put(new: Bot) -> str:
    """Have this function answer from now on; return its name for the settings."""
    global bot
    bot = new
    return NAME

"""Handlers for a service that tests talk with: `handler="tests.peers.bots:NAME"`."""

import numpy as np
import trio

from service.handlers import Call, Digits, Message


def tone(seconds: float, rate: int = 8000) -> bytes:
    """Return a tone as PCM16, whose samples are all different from silence."""
    return (8000 + 1000 * np.sin(np.arange(int(seconds * rate)))).astype("<i2").tobytes()


async def announce(call: Call) -> None:
    """Say a sentence of 0.3 s, wait until it was heard, and hang up."""
    await call.play(tone(0.3), rate=call.rate)
    await call.heard()
    await call.send({"heard": call.position})


async def echo(call: Call) -> None:
    """Say what is heard."""
    async for frame in call.frames():
        await call.play(frame)


async def interrupted(call: Call) -> None:
    """Say ten seconds, but stop at the first keys or message; tell what was heard, and go on."""
    await call.play(tone(4))
    call.mark("never")
    async for event in call.events():
        if isinstance(event, Digits | Message):
            call.clear()
            # The caller's own word comes at once.
            await trio.sleep(0.2)
            told = event.digits if isinstance(event, Digits) else event.data
            await call.send({"told": told, "heard": call.position})
            await call.play(tone(0.2))
            await call.heard()
            await call.send_digits("42#")


async def broken(call: Call) -> None:
    """Fail at once."""
    raise ZeroDivisionError


async def last_words(call: Call) -> None:
    """Listen until the caller says goodbye, and say so too."""
    async for event in call.events():
        if event == Message("goodbye"):
            await call.send("goodbye")
            return


async def as_asked(call: Call) -> None:
    """Answer as the caller's parameters say."""
    if "deaf" in call.parameters:
        await trio.sleep_forever()
    async for event in call.events():
        if isinstance(event, Message) and "answers" in call.parameters:
            await call.send(event.data)
        if isinstance(event, bytes) and "plays" in call.parameters:
            await call.play(event)

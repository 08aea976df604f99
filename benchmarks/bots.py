"""Handlers that are measured: `RT_AUDIO_HANDLER=bots:parrot`."""

import trio

from service.handlers import Call

SECOND = bytes(16_000)


async def parrot(call: Call) -> None:
    """Play back each frame."""
    async for frame in call.frames():
        await call.play(frame)


async def announcer(call: Call) -> None:
    """Play without end, as a text-to-speech engine does that is faster than real time."""
    while True:
        await call.play(SECOND)


async def moody(call: Call) -> None:
    """Speak, be interrupted by what it hears, and sometimes fail or leave."""
    async for frame in call.frames(milliseconds=100):
        match frame[0] % 16:
            case 1:
                call.clear()
            case 2:
                raise RuntimeError("a bot's bug")
            case 3:
                return
            case 4:
                with trio.move_on_after(0.05):
                    await call.heard()
            case _:
                await call.play(frame * 3, rate=16000)

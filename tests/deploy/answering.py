"""The handler of the scene's service: `tests.deploy.answering:answer`."""

import trio

from service.handlers import Call


async def answer(call: Call) -> None:
    """Say each frame back and be interrupted, or do wrong as the caller's URL says."""
    frames = call.frames()
    match call.parameters.get("do"):
        case "fail":
            raise RuntimeError("this handler fails")
        case "sleep":
            await anext(frames)
            await trio.sleep_forever()
    async for frame in frames:
        await call.play(frame * 10)
        call.clear()

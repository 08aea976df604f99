"""Services of every kind for the client to meet, in memory, on a virtual clock."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

Service = Callable[[trio.StapledStream[Any, Any]], Awaitable[None]]
Conversation = Callable[[WebSocketConnection], Awaitable[None]]
#: What the fixture `use` is: from now on every connection ends at this service.
Use = Callable[[Service], None]


def talking(conversation: Conversation, *headers: tuple[bytes, bytes]) -> Service:
    """Return a service that agrees to the upgrade, with these headers, and then talks like this.

    It agrees to the first subprotocol that is offered.
    """

    async def service(stream: trio.StapledStream[Any, Any]) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            agreed = next(iter(request.proposed_subprotocols), None)
            ws = await request.accept(subprotocol=agreed, extra_headers=list(headers))
            with suppress(ConnectionClosed):
                await conversation(ws)
        await stream.aclose()

    return service


def closing(code: int, replies: int) -> Service:
    """Return a service that answers so many frames, and then closes with this code."""

    async def conversation(ws: WebSocketConnection) -> None:
        for _ in range(replies):
            await ws.send_message(await ws.get_message())
        await ws.aclose(code)

    return talking(conversation)


def answering(answer: bytes) -> Service:
    """Return a service that answers the upgrade with these bytes, and then waits."""

    async def service(stream: trio.StapledStream[Any, Any]) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)

    return service

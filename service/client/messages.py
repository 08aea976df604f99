"""What a service says in a call, from its first message to a close that comes too early."""

import json
from collections.abc import Callable
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from service.client.dial import ClientError, UnreachableError
from service.plain import plain

#: Close codes after which another call may succeed: going away, service restart, try again later
#: (IANA's registry), and 1006 for a lost connection.
RECONNECT_CODES = frozenset({1001, 1006, 1012, 1013})
#: How long the service may take to say that a call has begun, in seconds.
STARTED_SECONDS = 10.0


class ClosedError(ClientError):
    """The call ended early; the code is 1006 where the connection was lost without a close."""

    def __init__(self, sentence: str, code: int, reason: str) -> None:
        super().__init__(sentence)
        self.code, self.reason = code, reason
        self.retry_after = 0.0 if code in RECONNECT_CODES else None


async def receive(ws: WebSocketConnection, peer: str, done: Callable[[], str]) -> bytes | str:
    """Return the next message, or raise ClosedError; `done` says how far the call came."""
    try:
        return await ws.get_message()
    except ConnectionClosed as closed:
        code = 1006 if closed.reason is None else closed.reason.code
        reason = plain((closed.reason and closed.reason.reason) or "")
        sentence = f"the connection to {peer} was lost {done()}"
        if code != 1006:
            why = f" ({reason})" if reason else ""
            sentence = f"the call to {peer} was closed with {code}{why} {done()}"
        raise ClosedError(sentence, code, reason) from None


async def started(ws: WebSocketConnection, peer: str) -> dict[str, Any]:
    """Return the event with which the service begins a call, or nothing of another service.

    It was asked for events. Raises ClientError.
    """
    if b"rt-audio-session" not in dict(ws.handshake_headers):
        return {}
    with trio.move_on_after(STARTED_SECONDS):
        message = await receive(ws, peer, lambda: "before it began")
        try:
            event = json.loads(message)
        except ValueError:
            event = None
        if isinstance(event, dict) and event.get("type") == "started":
            return event
        raise ClientError(f"{peer} began the call with another message than `started`")
    raise UnreachableError(f"{peer} did not begin the call within {STARTED_SECONDS:g} seconds")

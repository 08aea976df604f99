"""The messages of a call until it is closed, and the sentence for a close that came too early."""

from trio_websocket import ConnectionClosed, WebSocketConnection

from service.client.dial import ClientError
from service.plain import plain

#: Close codes after which another call may succeed: going away, service restart, try again later
#: (IANA's registry), and 1006 for a lost connection.
RECONNECT_CODES = frozenset({1001, 1006, 1012, 1013})


class ClosedError(ClientError):
    """The call ended early; the code is 1006 where the connection was lost without a close."""

    def __init__(self, sentence: str, code: int, reason: str) -> None:
        super().__init__(sentence)
        self.code, self.reason = code, reason
        self.retry_after = 0.0 if code in RECONNECT_CODES else None


async def receive(ws: WebSocketConnection, peer: str, done: str) -> bytes | str:
    """Return the next message, or raise ClosedError; `done` says how far the call has come."""
    try:
        return await ws.get_message()
    except ConnectionClosed as closed:
        code = 1006 if closed.reason is None else closed.reason.code
        reason = plain((closed.reason and closed.reason.reason) or "")
        sentence = f"the connection to {peer} was lost {done}"
        if code != 1006:
            why = f" ({reason})" if reason else ""
            sentence = f"the call to {peer} was closed with {code}{why} {done}"
        raise ClosedError(sentence, code, reason) from None

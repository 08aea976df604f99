"""Quart's way to an upgraded connection, with less of Quart: what an upgrade does not need.

Under our own server the connection itself is taken over, and Quart and Hypercorn see nothing of
the audio. Under any other ASGI server, and Quart's test client, the call runs over ASGI events.
"""

from typing import Any

import trio
from quart import Websocket
from quart.asgi import ASGIWebsocketConnection
from quart.ctx import WebsocketContext
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.routing import MapAdapter

from service.conversation import Link
from service.net.connection import Connection
from service.net.links import AsgiLink, AsgiReceive, AsgiSend
from service.tally import Refusal
from service.web.access import agreed_subprotocol
from service.web.admission import Refused


class App(QuartTrio):
    """Quart without its work that no route here needs; a storm of upgrades pays for each piece."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Return the finder of a request's route; no route here depends on the host."""
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind(
            "",
            url_scheme=request.scheme,
            path_info=request.path,
            default_method=request.method,
            query_args=request.query_string.decode(),
        )

    async def preprocess_websocket(self, websocket_context: WebsocketContext | None = None) -> None:
        """Do nothing: no hooks come before an upgrade here, and Quart would look for them."""


class WebsocketConnection(TrioASGIWebsocketConnection):
    """Quart's WebSocket connection without its reader task and its queue.

    A call reads ASGI's events itself, if at all. So it sees the peer's close code and empty
    messages, both of which Quart loses, and is not cancelled when the peer leaves.
    """

    def __init__(self, app: QuartTrio, scope: Any) -> None:
        # The base class would open a queue.
        self.app, self.scope = app, scope
        self._accepted = self._closed = False
        self.receive_channel = _NO_CHANNEL

    async def __call__(self, receive: AsgiReceive, send: AsgiSend) -> None:
        async def answer(event: Any) -> None:
            # After the upgrade only the link closes; Quart would say 1000 whatever happened.
            if not (self._accepted and event["type"] == "websocket.close"):
                await send(event)

        accepted_websocket = self._create_websocket_from_scope(answer)
        accepted_websocket.asgi = (receive, send)  # type: ignore[attr-defined]
        await ASGIWebsocketConnection.handle_websocket(self, accepted_websocket, answer)


#: Stands for the queue that Quart's `websocket.receive` would read; the call's link reads instead.
_NO_CHANNEL = trio.open_memory_channel[Any](0)[1]


def peer_of(upgrade: Websocket) -> str:
    """Return the peer's address and port, for the logs."""
    client = upgrade.scope.get("client")
    return "unknown" if client is None else f"{client[0]}:{client[1]}"


async def accept(upgrade: Websocket, headers: dict[str, str]) -> Link:
    """Answer the upgrade with these headers, and return the link for the call; raise Refused."""
    connection: Connection | None = upgrade.scope.get("state", {}).get("connection")
    if connection is None:
        receive, send = upgrade.asgi  # type: ignore[attr-defined]
        link: Link | None = AsgiLink(receive, send)
    else:
        link = connection.link()
    if link is None:
        raise Refused(400, Refusal.ABANDONED, "data was sent ahead of the answer")
    await upgrade.accept(headers, agreed_subprotocol(upgrade.requested_subprotocols))
    return link

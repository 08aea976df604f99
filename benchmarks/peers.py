"""Echo servers to compare with, each at its fastest: `python benchmarks/peers.py NAME PORT`.

All of them do the same and no more: accept a WebSocket, send each binary message back. Compression,
access logs and keep-alive pings are off, the listen queue is long, and uvloop runs every asyncio
server. A peer imports what it needs inside its own function, so that only the one that is started
has to be installed. With a third argument, a file of a certificate and its key, fastapi has TLS.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

HOST = "127.0.0.1"
BACKLOG = 4096


def quart_trio(port: int) -> None:
    """Run a plain Quart-Trio route on Hypercorn's Trio worker."""
    import hypercorn.trio
    import trio
    from hypercorn.config import Config
    from quart import websocket
    from quart_trio import QuartTrio

    app = QuartTrio(__name__)

    @app.websocket("/ws/audio")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.backlog = BACKLOG
    config.loglevel = "ERROR"
    trio.run(hypercorn.trio.serve, app, config)


def fastapi(port: int, pem: str | None = None) -> None:
    """Run FastAPI on uvicorn, at its fastest, with an echo, a bot with a clock, and one for Twilio.

    uvicorn has its newer, faster sans-I/O WebSocket implementation.
    """
    import asyncio
    from binascii import b2a_base64
    from collections import deque

    import msgspec
    import uvicorn
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    class Audio(msgspec.Struct):
        payload: bytes  # msgspec also decodes the base64, in C

    class Message(msgspec.Struct):
        event: str
        streamSid: str = ""  # noqa: N815, Twilio's name
        media: Audio | None = None

    decode = msgspec.json.Decoder(Message).decode
    app = FastAPI()

    @app.websocket("/ws/audio")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.send_bytes(await websocket.receive_bytes())

    @app.websocket("/ws/twilio")
    async def twilio(websocket: WebSocket) -> None:
        await websocket.accept()
        before = ""
        with suppress(WebSocketDisconnect):
            while True:
                said = decode(await websocket.receive_text())
                if said.media:
                    payload = b2a_base64(said.media.payload, newline=False).decode()
                    await websocket.send_text(f'{before}{payload}"}}}}')
                elif said.event == "start":
                    sid = said.streamSid
                    before = f'{{"event":"media","streamSid":"{sid}","media":{{"payload":"'

    @app.websocket("/ws/parrot")
    async def parrot(websocket: WebSocket) -> None:
        """Do what a bot's author writes: hear into a queue, speak by a clock."""
        await websocket.accept()
        heard: asyncio.Queue[bytes] = asyncio.Queue(100)
        to_say: deque[bytes] = deque()
        wanted = asyncio.Event()

        async def speak() -> None:
            loop = asyncio.get_running_loop()
            while True:
                await wanted.wait()
                due = loop.time()
                while to_say:
                    await websocket.send_bytes(to_say.popleft())
                    due += 0.02
                    # Up to 40 ms ahead of the clock, as the other side of the comparison.
                    if due - loop.time() > 0.04:
                        await asyncio.sleep(due - loop.time() - 0.04)
                wanted.clear()

        async def answer() -> None:
            while True:
                to_say.append(await heard.get())
                wanted.set()

        tasks = [asyncio.create_task(speak()), asyncio.create_task(answer())]
        with suppress(WebSocketDisconnect):
            while True:
                await heard.put(await websocket.receive_bytes())
        for task in tasks:
            task.cancel()

    uvicorn.run(
        app,
        host=HOST,
        port=port,
        backlog=BACKLOG,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        access_log=False,
        log_level="error",
        ssl_certfile=pem,
    )


def websockets(port: int) -> None:
    """Run the websockets library's asyncio server."""
    import uvloop
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with serve(
            echo, HOST, port, backlog=BACKLOG, compression=None, ping_interval=None
        ) as server:
            await server.serve_forever()

    uvloop.run(main())


def aiohttp(port: int) -> None:
    """Run aiohttp with its C parser."""
    import uvloop
    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(compress=False)
        await answer.prepare(request)
        async for message in answer:
            if message.type is WSMsgType.BINARY:
                await answer.send_bytes(message.data)
        return answer

    app = web.Application()
    app.router.add_get("/ws/audio", echo)
    loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=port, backlog=BACKLOG, access_log=None, print=None, loop=loop)


def trio_websocket(port: int) -> None:
    """Run trio-websocket: one task a connection, wsproto underneath."""
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, WebSocketServer

    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        with suppress(ConnectionClosed):
            while True:
                await connection.send_message(await connection.get_message())

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(port, host=HOST, backlog=BACKLOG)
        await WebSocketServer(echo, listeners).run()

    trio.run(main)


def picows(port: int) -> None:
    """Run picows: Cython, callbacks, no work on a frame but to send it back."""
    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.BINARY:
                transport.send(WSMsgType.BINARY, frame.get_payload_as_memoryview())
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    async def main() -> None:
        server = await ws_create_server(lambda request: Echo(), HOST, port, backlog=BACKLOG)
        await server.serve_forever()

    uvloop.run(main())


PEERS = [quart_trio, fastapi, websockets, aiohttp, trio_websocket, picows]


if __name__ == "__main__":
    name, port, *pem = sys.argv[1:]
    run: Callable[..., None] = {peer.__name__: peer for peer in PEERS}[name.replace("-", "_")]
    run(int(port), *pem)

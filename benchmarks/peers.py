"""Echo servers to compare with, each at its fastest: `python benchmarks/peers.py NAME PORT`.

All of them do the same and no more: accept a WebSocket, send each binary message back. Compression,
access logs and keep-alive pings are off, the listen queue is long, and uvloop runs every asyncio
server. A peer imports what it needs inside its own function, so that only the one that is started
has to be installed. With a third argument, a file of a certificate and its key, fastapi has TLS.
"""

import sys
from collections.abc import Callable
from typing import Any

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
    """Run FastAPI on uvicorn with its newer, faster sans-I/O WebSocket implementation."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()

    @app.websocket("/ws/audio")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_bytes(await websocket.receive_bytes())
        except WebSocketDisconnect:
            pass

    serve_fastapi(app, port, pem)


def serve_fastapi(app: Any, port: int, pem: str | None) -> None:
    """Run an ASGI app on uvicorn, at its fastest."""
    import uvicorn

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


def fastapi_parrot(port: int) -> None:
    """Run FastAPI with what a bot's author writes: hear into a queue, speak by a clock."""
    import asyncio
    from collections import deque

    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()

    @app.websocket("/ws/audio")
    async def parrot(websocket: WebSocket) -> None:
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
        try:
            while True:
                await heard.put(await websocket.receive_bytes())
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()

    serve_fastapi(app, port, None)


def fastapi_twilio(port: int) -> None:
    """Run FastAPI with an echo bot for Twilio; msgspec also decodes the base64, in C."""
    from binascii import b2a_base64

    import msgspec
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    class Connected(msgspec.Struct, tag_field="event", tag="connected"):
        pass

    class Start(msgspec.Struct, tag_field="event", tag="start"):
        streamSid: str  # noqa: N815, Twilio's name

    class Audio(msgspec.Struct):
        payload: bytes

    class Media(msgspec.Struct, tag_field="event", tag="media"):
        media: Audio

    decode = msgspec.json.Decoder(Connected | Start | Media).decode
    app = FastAPI()

    @app.websocket("/ws/twilio")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        before = ""
        try:
            while True:
                said = decode(await websocket.receive_text())
                if isinstance(said, Media):
                    payload = b2a_base64(said.media.payload, newline=False).decode()
                    await websocket.send_text(f'{before}{payload}"}}}}')
                elif isinstance(said, Start):
                    sid = said.streamSid
                    before = f'{{"event":"media","streamSid":"{sid}","media":{{"payload":"'
        except WebSocketDisconnect:
            pass

    serve_fastapi(app, port, None)


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
    web.run_app(
        app,
        host=HOST,
        port=port,
        backlog=BACKLOG,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


def trio_websocket(port: int) -> None:
    """Run trio-websocket: one task a connection, wsproto underneath."""
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, WebSocketServer

    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            pass

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


PEERS: dict[str, Callable[..., None]] = {
    "quart-trio": quart_trio,
    "fastapi": fastapi,
    "fastapi-parrot": fastapi_parrot,
    "fastapi-twilio": fastapi_twilio,
    "websockets": websockets,
    "aiohttp": aiohttp,
    "trio-websocket": trio_websocket,
    "picows": picows,
}


if __name__ == "__main__":
    name, port, *pem = sys.argv[1:]
    PEERS[name](int(port), *pem)

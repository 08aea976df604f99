"""One accepted connection: its stream, and what is spoken on it.

A proxy's PROXY header comes first, where one is due; then TLS, where there is a certificate.

Plain requests go to `http1`. A request to upgrade to WebSocket goes past it, through websockets'
opening handshake to the app; then a session owns the stream.

Hypercorn has a class for this, `TCPServer`. It does not keep promises that are kept here: a bug
in one connection ends that connection; no write waits longer than the send deadline; an idle
connection is closed, at shutdown at once; and nothing else reads while a session does.

    IDLE      between requests; closed when its time is over
    BUSY      a request is under way
    UPGRADED  a session has the stream
    RETIRED   told to close: now, or after the request under way
"""

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from math import inf
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from service import logs
from service.conversation import CLOSE_SECONDS, Link
from service.net.http1 import REQUESTS_AT_ONCE, Address, Http1
from service.net.links import PumpedLink, StreamLink
from service.net.lobby import Lobby
from service.net.preamble import Proxies
from service.net.pump import Pump
from service.net.stream import READ_BYTES, Stream
from service.net.tls_failure import explained
from service.networks import endpoint
from service.refusals import Refusals
from service.tally import Refusal, TlsFailure
from service.websocket.handshake import Handshake, asks_for_websocket, could_be_head, head_end

_log = logs.get(__name__)

#: How long a TLS client may take over its handshake, in seconds; a PROXY header's time included.
_TLS_HANDSHAKE_SECONDS = 10
#: How long a plain request may take, from its start to the end of its answer, in seconds.
_REQUEST_SECONDS = 60


@dataclass
class Shared:
    """What all connections of a server have in common; without a pump, each reads for itself.

    `tls` may be replaced, for the connections from then on.
    """

    app: AppWrapper
    config: Config
    context: WorkerContext
    lobby: Lobby
    pump: Pump | None
    tls: ssl.SSLContext | None
    proxies: Proxies
    send_seconds: float
    refusals: Refusals
    turnstile: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(REQUESTS_AT_ONCE))


class State(Enum):
    """What a connection is doing; the head of the file has the meanings."""

    IDLE = auto()
    BUSY = auto()
    UPGRADED = auto()
    RETIRED = auto()


class Connection:
    """One connection, from its handshake to its close; `run` never raises an Exception.

    A plain request runs in a task of its own, and the connection is read meanwhile. An upgrade
    runs in the connection's task: nothing else reads then, so the session may.
    """

    def __init__(self, shared: Shared, transport: socket.socket, address: str) -> None:
        self._shared, self._address = shared, address
        self._stream = Stream(transport, shared.tls)
        self._state = State.IDLE
        self._deadline = trio.current_time() + shared.config.keep_alive_timeout
        self._reading: trio.CancelScope | None = None
        self._writing: trio.CancelScope | None = None
        self._evicted = trio.CancelScope()  # a call has left the lobby, so nobody evicts it
        self._http: Http1 | None = None
        self._new = True
        self._early = b""  # bytes that the peer sent behind its request to upgrade

    async def run(self) -> None:
        """Serve requests until either side closes, or an upgrade's session has ended."""
        self._shared.lobby.enter(self, self._address)
        try:
            with self._evicted:
                await self._serve()
        except Exception:
            _log.exception("connection_failed")
        finally:
            self._shared.lobby.leave(self)
            await self._stream.aclose()

    @property
    def idle(self) -> bool:
        """Whether it is between requests."""
        return self._state is State.IDLE

    def evict(self) -> None:
        """Close at once, whatever is under way."""
        self._evicted.cancel()
        if self._writing is not None:
            self._writing.cancel()

    def retire(self) -> None:
        """Close if idle; otherwise this request is the last, and each write has CLOSE_SECONDS."""
        if self._state is State.IDLE:
            self._wait_until(-inf)
        self._state = State.RETIRED
        if self._writing is not None:
            hurry = trio.current_time() + CLOSE_SECONDS
            self._writing.deadline = min(self._writing.deadline, hurry)

    def link(self) -> Link | None:
        """Return the link that owns the stream once the upgrade is answered.

        None if the peer did not wait for the answer (RFC 6455, 4.1): refuse the upgrade then.
        """
        if self._early:
            return None
        self._state = State.UPGRADED
        self._shared.lobby.leave(self)
        pump = self._shared.pump
        return StreamLink(self._stream) if pump is None else PumpedLink(pump, self._stream)

    async def _serve(self) -> None:
        ours = self._stream.socket
        try:
            client, server = ours.getpeername()[:2], ours.getsockname()[:2]
        except OSError:  # the peer is gone already
            return
        behind_proxy = client in self._shared.proxies
        if behind_proxy or self._shared.tls is not None:
            begun = await self._begin(client, behind_proxy)
            if begun is None:
                return
            client = begun
        ends = client, server
        try:
            await self._read(ends)
        finally:
            if self._http is not None:
                await self._http.finish()
            # Break the cycle connection <-> http, so that reference counting frees both at once.
            self._http = None

    async def _begin(self, client: Address, behind_proxy: bool) -> Address | None:
        """Take a proxy's header, then agree on keys; return the client, None if that fails."""
        with trio.move_on_after(_TLS_HANDSHAKE_SECONDS) as self._reading:
            if behind_proxy:
                try:
                    client = await self._shared.proxies.introduced(self._stream.socket, client)
                except trio.BrokenResourceError:
                    return None
            try:
                await self._stream.do_handshake(self._shared.turnstile)
                return client
            except trio.BrokenResourceError as error:
                reason, message = explained(error.__cause__)
        if self._reading.cancelled_caught:
            if self._state is State.RETIRED:
                return None
            reason = TlsFailure.TIMEOUT
            message = f"it was not done after {_TLS_HANDSHAKE_SECONDS} s"
        self._shared.refusals.tls(reason, message, peer=endpoint(*client))
        return None

    async def _read(self, ends: tuple[Address, Address]) -> None:
        head = b""
        while (data := await self._receive()) is not None:
            if self._state is State.IDLE:
                # Between requests: see a whole head before choosing who answers it.
                head += data
                end = head_end(head)
                if data and not end and could_be_head(head):
                    continue
                if asks_for_websocket(head[:end]):
                    self._state = State.BUSY
                    self._early = head[end:]
                    await self._answer_upgrade(Handshake(head[:end]), ends)
                    return
                data, head = head, b""
            await self._speak_http(data, ends)
            if not data:
                break
        if self._http is not None:
            await self._http.closed()

    async def _receive(self) -> bytes | None:
        """Return the bytes of one read, none at the end; None when the waiting is over."""
        if self._new:
            # A client speaks first, so its request is usually there, and Trio need not wait.
            self._new = False
            with suppress(OSError):
                return self._stream.transport.recv(READ_BYTES)
        with trio.CancelScope(deadline=self._deadline) as self._reading:
            try:
                return await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        return None

    async def _speak_http(self, data: bytes, ends: tuple[Address, Address]) -> None:
        if self._http is None:
            self._http = Http1(
                self._shared.app,
                self._shared.config,
                self._shared.context,
                self._shared.turnstile,
                tls=self._shared.tls is not None,
                ends=ends,
                write=self._written,
                hang_up=self._stream.aclose,
                refused=partial(self._refuse, "it came before the answer to another request", ends),
                idle=self._be_idle,
            )
        await self._http.receive(data)

    async def _answer_upgrade(self, handshake: Handshake, ends: tuple[Address, Address]) -> None:
        if handshake.error is not None:
            self._refuse(handshake.fault, ends)
            await self._write_now(handshake.error)
            return
        client, server = ends

        async def answer(event: Any) -> None:
            data = handshake.answer(event)
            if data:
                await self._write_now(data)

        await self._shared.app(
            handshake.scope(  # type: ignore[arg-type]
                scheme="ws" if self._shared.tls is None else "wss",
                client=client,
                server=server,
                state={"connection": self},
            ),
            trio.sleep_forever,
            answer,
            trio.to_thread.run_sync,
            trio.from_thread.run,
        )

    def _refuse(self, fault: str, ends: tuple[Address, Address]) -> None:
        self._shared.refusals.upgrade(Refusal.BAD_HANDSHAKE, fault, peer=endpoint(*ends[0]))

    def _be_idle(self, idle: bool) -> None:
        """Wait for a request from now on, or for the end of the one that begins."""
        seconds = self._shared.config.keep_alive_timeout if idle else _REQUEST_SECONDS
        if self._state is not State.RETIRED:
            self._state = State.IDLE if idle else State.BUSY
            self._shared.lobby.renew(self)
            self._wait_until(trio.current_time() + seconds)
        elif idle:
            self._wait_until(-inf)

    def _wait_until(self, deadline: float) -> None:
        self._deadline = deadline
        if self._reading is not None:
            self._reading.deadline = deadline

    async def _write_now(self, data: bytes) -> None:
        """Write the answer to an upgrade; there is usually room, and Trio need not wait."""
        with suppress(trio.BrokenResourceError):
            data = data[self._stream.send_now(data) :]
            if data:
                await self._written(data)

    async def _written(self, data: bytes) -> bool:
        """Write; return False if the peer is gone or does not read."""
        hurry = self._state is State.RETIRED
        # The request's own scope may be cancelled while its answer is on the way out.
        with trio.move_on_after(
            CLOSE_SECONDS if hurry else self._shared.send_seconds, shield=True
        ) as self._writing:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            return True
        return False

"""Reach a service: an address, TCP and TLS, the upgrade, and a sentence for each way it can fail.

This is the one edge where an error of the network or of trio-websocket becomes a ClientError, and
where a nursery's group is opened.
"""

import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import h11
import trio
from trio_websocket import (
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from service import bearer
from service.client.steps import Steps
from service.plain import plain

#: How long the connection may take, and how long then the answer to the upgrade, in seconds.
CONNECT_SECONDS = 10.0
#: How long the close handshake may take, in seconds.
CLOSE_SECONDS = 1.0

#: The statuses of a service, or of the proxy before it, that takes no call of ours just now.
_UNAVAILABLE = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class ClientError(Exception):
    """A failure that is no bug of the client; the text is one sentence.

    `retry_after` is the least number of seconds before another try; it is None if another try
    would fail in the same way.
    """

    retry_after: float | None = None


class ConnectError(ClientError):
    """The service cannot be reached at that address."""


class UnreachableError(ConnectError):
    """The service cannot be reached now: no answer comes, or the network is down."""

    retry_after = 0.0


class RefusedError(ClientError):
    """The service refused the upgrade, with this HTTP status."""

    def __init__(self, sentence: str, status: int, retry_after: float | None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class Address:
    """Where a WebSocket is; its text leaves out the query, which may carry a token."""

    secure: bool
    host: str
    port: int
    host_header: str
    path: str
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the address of a URL; raise ConnectError."""
        try:
            parts = urlsplit(url)
            secure, host = parts.scheme == "wss", parts.hostname
            port = parts.port or (443 if secure else 80)
        except ValueError:
            host = None
        # Only printable ASCII can be sent; the service judges the rest.
        if not host or parts.scheme not in ("ws", "wss") or not re.fullmatch(r"[!-~]+", url):
            raise ConnectError(
                f"{plain(url.partition('?')[0])!r} is not a WebSocket address "
                "like ws://localhost:8001/ws/audio or wss://example.com/ws/audio"
            )
        return cls(
            secure=secure,
            host=host,
            port=port,
            host_header=parts.netloc.rpartition("@")[2],
            path=parts.path or "/",
            query=parts.query,
        )

    def asking(self, parameters: dict[str, str]) -> Self:
        """Return the address with those parameters added that its query does not have."""
        own = dict(parse_qsl(self.query, keep_blank_values=True))
        more = urlencode({name: parameters[name] for name in parameters if name not in own})
        return replace(self, query="&".join(filter(None, (self.query, more))))

    @property
    def target(self) -> str:
        """What is asked for in the request: the path and the query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}{self.path}"


@asynccontextmanager
async def connection(
    address: Address,
    token: str | None = None,
    *,
    subprotocols: Sequence[str] = (),
    max_message_size: int = 2**20,
    steps: Steps | None = None,
) -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket for the block; raise ClientError, and each error without a nursery's group.

    `steps` are `connect`, `tls` and `upgrade`. trio-websocket's own way to connect has two faults:
    after a TLS failure it waits for its timeout and gives no reason, and it sends a wrong Host
    header for an IPv6 address.
    """
    check_token(token)
    headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode())]
    steps = Steps() if steps is None else steps
    transport = await _dial(address, steps)
    steps.begin("upgrade")
    upgraded = False
    try:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(CONNECT_SECONDS) as upgrading:
                ws = await wrap_client_stream(
                    nursery,
                    _Answering(transport, address),  # type: ignore[arg-type]
                    address.host_header,
                    address.target,
                    subprotocols=subprotocols,
                    extra_headers=headers,
                    max_message_size=max_message_size,
                )
            if upgrading.cancelled_caught:
                raise UnreachableError(
                    f"{address} did not answer the upgrade within {CONNECT_SECONDS:g} seconds"
                )
            steps.end()
            upgraded = True
            try:
                yield ws
            finally:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await ws.aclose()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _the_one(group)
        raise (error if upgraded else _refusal(error, address)) from None
    finally:
        await trio.aclose_forcefully(transport)


class _Answering(trio.abc.Stream):
    """A transport that raises UnreachableError when the other side hangs up without an answer.

    trio-websocket would wait for its answer until the timeout.
    """

    def __init__(self, transport: trio.abc.Stream, address: Address) -> None:
        self._transport = transport
        self._hung_up = UnreachableError(f"{address} hung up instead of answering the upgrade")
        self._answered = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._answered:
            return await self._transport.receive_some(max_bytes)
        data: bytes | bytearray = b""
        with suppress(trio.BrokenResourceError):
            data = await self._transport.receive_some(max_bytes)
        if not data:
            raise self._hung_up
        self._answered = True
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._transport.send_all(data)
        except trio.BrokenResourceError:
            if self._answered:
                raise
            raise self._hung_up from None

    async def wait_send_all_might_not_block(self) -> None:
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._transport.aclose()


async def _dial(
    address: Address, steps: Steps
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """Connect, through TLS and the system's CAs if the address says so; raise ConnectError."""
    kind: type[ConnectError] = UnreachableError
    why = f"no answer in {CONNECT_SECONDS:g} seconds"
    with trio.move_on_after(CONNECT_SECONDS):
        steps.begin("connect")
        try:
            if not address.secure:
                return await trio.open_tcp_stream(address.host, address.port)
            tls = await trio.open_ssl_over_tcp_stream(
                address.host, address.port, https_compatible=True
            )
            steps.begin("tls")
            try:
                await tls.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(tls)
                raise
            return tls
        except OSError as error:
            why = system_words(error)
        except UnicodeError as error:  # IDNA cannot encode the name.
            kind, why = ConnectError, str(error)
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            reason = (getattr(cause, "reason", None) or "").replace("_", " ").lower()
            detail = getattr(cause, "verify_message", None) or reason
            why = f"TLS failed: {detail or 'the other side hung up'}"
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                kind = ConnectError
    raise kind(f"cannot connect to {address}: {why}")


def _the_one(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one error of a nursery's group: a bug or a cancellation before a ClientError."""
    errors = list(_leaves(group))
    return next((error for error in errors if not isinstance(error, ClientError)), errors[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _refusal(error: BaseException, address: Address) -> BaseException:
    """Return the error as a ClientError if an answer to the upgrade can lead to it."""
    match error:
        case ConnectionRejected():
            return _refused(error, address)
        case h11.ProtocolError() | UnicodeDecodeError():
            # trio-websocket trips over its own answer to a 101 that RFC 6455 does not allow, and
            # over headers that are not ASCII.
            return ConnectError(
                f"{address} answered the upgrade with something that is no WebSocket"
            )
    return error


def _refused(rejection: ConnectionRejected, address: Address) -> RefusedError:
    status = rejection.status_code
    try:
        message = str(json.loads(rejection.body or b"")["message"])
    except (ValueError, LookupError, TypeError):  # The answer is another server's or a proxy's.
        known = status in list(HTTPStatus)
        message = HTTPStatus(status).phrase if known else "no reason given"
    return RefusedError(
        f"{address} refused the upgrade with HTTP {status}: {plain(message)}",
        status,
        _seconds_asked_for(rejection) if status in _UNAVAILABLE else None,
    )


def _seconds_asked_for(rejection: ConnectionRejected) -> float:
    """Return the seconds of Retry-After; 0 if it is missing or a date."""
    value = dict(rejection.headers or ()).get(b"retry-after", b"")
    return float(value) if value.isdigit() else 0.0


def check_token(token: str | None) -> None:
    """Raise ConnectError for a token that no header can carry."""
    if token is not None and bearer.wrong_at(token) is not None:
        raise ConnectError(f"the token cannot be sent: a token has {bearer.ALPHABET}")


def system_words(error: OSError | UnicodeError) -> str:
    """Return the reason in the system's words, without the address that Trio puts before them."""
    if isinstance(error.__cause__, BaseExceptionGroup):
        # There is one cause for each address of the name, and usually all are the same.
        causes = [each for each in error.__cause__.exceptions if isinstance(each, OSError)]
        return ", ".join(dict.fromkeys(map(system_words, causes)))
    number = getattr(error, "errno", None)
    if number is not None and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error)

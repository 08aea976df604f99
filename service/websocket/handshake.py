"""The opening handshake of RFC 6455, section 4.2, without I/O: a request in, the answer out.

websockets parses and checks the request. The app sees the handshake of an ASGI WebSocket.
"""

import json
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

_END = re.compile(rb"\n\r?\n")
_UPGRADE = re.compile(rb"\nupgrade[ \t]*:[ \t]*websocket", re.IGNORECASE)
_MAX_HEAD_BYTES = 16384
#: Judges all requests; one for each would cost a tenth of an upgrade. It takes no extensions, so
#: compression is declined.
_judge = ServerProtocol()


def could_be_head(data: bytes) -> bool:
    """Return whether these bytes can become the head of a request: no TLS, and not too long."""
    return data[0] > 0x20 and len(data) < _MAX_HEAD_BYTES


def head_end(data: bytes) -> int:
    """Return where the head of the request ends in these bytes; 0 if it does not end there."""
    end = _END.search(data)
    return 0 if end is None else end.end()


def asks_for_websocket(head: bytes) -> bool:
    """Return whether the head of a request asks for WebSocket, correctly or not."""
    return _UPGRADE.search(head) is not None


class Handshake:
    """One request to upgrade, from its head to the answer.

    `error` is the answer to a request that breaks the RFC, and `fault` says how. Otherwise
    give `scope` to the app, each event of the app to `answer`, and write the bytes that `answer`
    returns.
    """

    def __init__(self, head: bytes) -> None:
        self._refusal: dict[str, Any] = {}
        self._body = b""
        self.error: bytes | None = None
        self.fault = ""
        try:
            self._request = _parsed(head)
        except InvalidMessage as fault:
            self._refuse(HTTPStatus.BAD_REQUEST, Headers(), fault)
            return
        if len(self._request.headers.get_all("Host")) != 1:
            # RFC 9112, 3.2; the protocol leaves this check to an HTTP server.
            two = ValueError("a request has one Host header")
            self._refuse(HTTPStatus.BAD_REQUEST, Headers(), two)
            return
        self._response = _judge.accept(self._request)
        wrong, _judge.handshake_exc = _judge.handshake_exc, None
        if wrong is not None:
            status = HTTPStatus(self._response.status_code)
            self._refuse(status, self._response.headers, wrong)

    def scope(self, **more: Any) -> dict[str, Any]:
        """Return the ASGI scope of the request; `more` has the keys that the connection knows."""
        request = self._request
        raw_path, _, query_string = request.path.partition("?")
        return {
            "type": "websocket",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "http_version": "1.1",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query_string.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode("latin-1", "surrogateescape"))
                for name, value in request.headers.raw_items()
            ],
            "subprotocols": [
                name.strip()
                for value in request.headers.get_all("Sec-WebSocket-Protocol")
                for name in value.split(",")
            ],
            "extensions": {"websocket.http.response": {}},
            **more,
        }

    def answer(self, event: dict[str, Any]) -> bytes:
        """Return the bytes that an event of the app adds to the answer."""
        kind = event["type"]
        if kind == "websocket.accept":
            headers = self._response.headers
            for name, value in event["headers"]:
                headers[name.decode()] = value.decode()
            if event["subprotocol"] is not None:
                headers["Sec-WebSocket-Protocol"] = event["subprotocol"]
            answer = self._response.serialize()
            # The app keeps this object for the whole session; these parts are done with.
            del self._request, self._response
            return answer
        if kind == "websocket.http.response.start":
            self._refusal = event
            return b""
        assert kind == "websocket.http.response.body", kind
        self._body += event["body"]
        if event["more_body"]:
            return b""
        headers = Headers(
            (name.decode(), value.decode()) for name, value in self._refusal["headers"]
        )
        return _plain(HTTPStatus(self._refusal["status"]), headers, self._body)

    def _refuse(self, status: HTTPStatus, headers: Headers, fault: Exception) -> None:
        self.fault = _sentence(fault)
        self.error = _error(status, headers, self.fault)


def _parsed(head: bytes) -> Request:
    """Return the request; raise InvalidMessage."""
    reader = StreamReader()
    reader.feed_data(head)
    reader.feed_eof()
    try:
        next(Request.parse(reader.read_line))  # which waits for no more bytes
    except StopIteration as done:
        request: Request = done.value
        return request
    except Exception as error:
        raise InvalidMessage("did not receive a valid HTTP request") from error
    raise AssertionError


def _error(status: HTTPStatus, headers: Headers, fault: str) -> bytes:
    """Return the answer to a request that breaks the RFC; it says what would be right."""
    ours = Headers({"Content-Type": "application/json", "Sec-WebSocket-Version": "13"})
    for name in ("Upgrade", "Allow"):
        if name in headers:
            ours[name] = headers[name]
    body = json.dumps({"error": "bad_handshake", "message": fault})
    return _plain(status, ours, body.encode())


def _sentence(fault: BaseException | None) -> str:
    """Return a fault and its causes as one sentence."""
    parts = []
    while fault is not None:
        parts.append(str(fault))
        fault = fault.__cause__
    return "; ".join(parts)


def _plain(status: HTTPStatus, headers: Headers, body: bytes) -> bytes:
    headers["Connection"] = "close"
    if "Content-Length" not in headers:
        headers["Content-Length"] = str(len(body))
    return Response(status.value, status.phrase, headers, body).serialize()

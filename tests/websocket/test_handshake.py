"""The opening handshake: what RFC 6455 asks of a request, and the answers to it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.websocket.handshake import Handshake, asks_for_websocket, could_be_head, head_end

REQUEST = {
    "Host": "localhost:8001",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def head(target: str = "/ws/audio", method: str = "GET", **changes: str | None) -> bytes:
    """Return a request's head; changes are headers with _ for -, None to leave one out."""
    headers = REQUEST | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def parts(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return an answer's status line, headers in lower case, and body."""
    top, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    return status, {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore", 27),
        (b"GET / HTTP/1.1\nHost: x\n\nmore", 24),
    ],
)
def test_a_head_ends_with_its_empty_line(data: bytes, end: int) -> None:
    assert head_end(data) == end


@pytest.mark.parametrize(
    ("data", "could_be"),
    [(b"G", True), (b"\x16\x03\x01", False), (b"\r\n", False), (b"x" * 20_000, False)],
    ids=["begun", "TLS", "no method", "endless"],
)
def test_what_cannot_become_a_head_is_not_waited_for(data: bytes, could_be: bool) -> None:
    assert could_be_head(data) is could_be


@pytest.mark.parametrize(
    ("line", "asks"),
    [
        ("Upgrade: websocket", True),
        ("upgrade:WebSocket", True),
        ("UPGRADE :\twebsocket", True),
        ("Upgrade: h2c", False),
        ("X-Upgrade: websocket", False),
        ("X: Upgrade: websocket", False),
    ],
)
def test_what_asks_for_a_websocket(line: str, asks: bool) -> None:
    assert asks_for_websocket(f"GET / HTTP/1.1\r\n{line}\r\n\r\n".encode()) is asks


def test_the_scope_is_what_the_request_says() -> None:
    scope = Handshake(
        head("/ws/%61udio?codec=numpy&x=%20", Sec_WebSocket_Protocol="a, bearer.b", X_Y="caf\xe9")
    ).scope(scheme="ws", client=("::1", 5))
    assert (scope["path"], scope["raw_path"]) == ("/ws/audio", b"/ws/%61udio")
    assert scope["query_string"] == b"codec=numpy&x=%20"
    assert scope["subprotocols"] == ["a", "bearer.b"]
    assert (scope["type"], scope["scheme"], scope["client"]) == ("websocket", "ws", ("::1", 5))
    assert (b"host", b"localhost:8001") in scope["headers"]
    assert (b"x-y", b"caf\xc3\xa9") in scope["headers"]


def test_an_accepted_upgrade_has_the_rfcs_answer_and_the_apps_headers() -> None:
    offer = "permessage-deflate; client_max_window_bits"
    handshake = Handshake(head(Sec_WebSocket_Extensions=offer))
    assert handshake.error is None
    answer = handshake.answer(
        {"type": "websocket.accept", "subprotocol": "bearer.b", "headers": [(b"rt-x", b"1")]}
    )
    status, headers, body = parts(answer)
    assert status == "HTTP/1.1 101 Switching Protocols"
    # The key and its answer are those of RFC 6455, 1.3.
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")
    assert (headers["sec-websocket-protocol"], headers["rt-x"]) == ("bearer.b", "1")
    assert "sec-websocket-extensions" not in headers
    assert body == b""


def test_a_refusal_is_a_whole_answer_once_its_body_is() -> None:
    handshake = Handshake(head())
    start = {"status": 503, "headers": [(b"retry-after", b"1"), (b"content-length", b"4")]}
    assert handshake.answer({"type": "websocket.http.response.start", **start}) == b""
    part = {"type": "websocket.http.response.body", "body": b"fu", "more_body": True}
    assert handshake.answer(part) == b""
    answer = handshake.answer({**part, "body": b"ll", "more_body": False})
    status, headers, body = parts(answer)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert headers == {"retry-after": "1", "content-length": "4", "connection": "close"}
    assert body == b"full"


@pytest.mark.parametrize(
    ("request_head", "status", "says"),
    [
        (head(Sec_WebSocket_Version="12"), "400 Bad Request", "Sec-WebSocket-Version"),
        (head(Sec_WebSocket_Version=None), "400 Bad Request", "Sec-WebSocket-Version"),
        (head(Sec_WebSocket_Key=None), "400 Bad Request", "Sec-WebSocket-Key"),
        (head(Sec_WebSocket_Key="short"), "400 Bad Request", "Sec-WebSocket-Key"),
        (head(Host=None), "400 Bad Request", "Host"),
        (head(host="again"), "400 Bad Request", "Host"),
        (head(Content_Length="5"), "400 Bad Request", "body"),
        (head(Connection="close"), "426 Upgrade Required", "Connection"),
        (head(Upgrade="websocket, h2c"), "426 Upgrade Required", "Upgrade"),
        (head(method="POST"), "405 Method Not Allowed", "POST"),
        (head().replace(b"HTTP/1.1", b"HTTP/1.0"), "505 HTTP Version Not Supported", "1.0"),
        (head(X=" \x00"), "400 Bad Request", "header value"),
        (b"\r\n\r\n", "400 Bad Request", ""),
    ],
    ids=str,
)
def test_a_request_against_the_rfc_is_told_what_is_wrong(
    request_head: bytes, status: str, says: str
) -> None:
    error = Handshake(request_head).error
    assert error is not None
    line, headers, body = parts(error)
    assert line == f"HTTP/1.1 {status}"
    assert headers["sec-websocket-version"] == "13"
    assert int(headers["content-length"]) == len(body)
    answer = json.loads(body)
    assert answer["error"] == "bad_handshake"
    assert says in answer["message"]
    assert answer["message"]
    assert ("upgrade" in headers) == status.startswith("426")
    assert ("allow" in headers) == status.startswith("405")


def test_a_wrong_request_says_nothing_of_the_next() -> None:
    assert Handshake(head(Sec_WebSocket_Key=None)).error is not None
    assert Handshake(head()).error is None


@given(st.binary(max_size=40), st.integers(0, 150))
def test_any_head_is_judged_without_an_exception(noise: bytes, at: int) -> None:
    good = head()
    handshake = Handshake(good[:at] + noise + good[at + len(noise) :])
    assert handshake.error is not None or handshake.scope()["type"] == "websocket"

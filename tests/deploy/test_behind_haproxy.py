"""A real HAProxy tells of its clients, in each of its ways, and the log names them."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.deploy.instances import Instance, balancing
from tests.peers.callers import StreamCaller
from tests.peers.reach import read_head, upgrade_request

pytestmark = pytest.mark.integration("haproxy", "haproxy")

#: Where the caller calls from; HAProxy and its checks come from 127.0.0.1.
CALLER = "127.0.0.9"


@pytest.mark.parametrize(
    ("line", "server"),
    [
        ("mode tcp", "send-proxy"),
        ("mode tcp", "send-proxy-v2"),
        ("mode http\n    option forwardfor", ""),
        # From HAProxy 2.8 on this is `option forwarded`.
        ("mode http\n    http-request add-header Forwarded for=%[src]", ""),
    ],
)
async def test_a_calls_log_lines_name_the_real_client(
    tmp_path: Path, line: str, server: str
) -> None:
    settings = {
        "RT_AUDIO_TRUSTED_PROXIES": "127.0.0.1",
        "RT_AUDIO_PROXY_PROTOCOL": str(bool(server)),
    }
    with ExitStack() as stack:
        instance = Instance("a", settings, stack)
        instance.start()
        balancer = stack.enter_context(balancing([instance], tmp_path, 100, 100, line, server))
        stream = await trio.open_tcp_stream("127.0.0.1", balancer.port, local_address=CALLER)
        await stream.send_all(upgrade_request("/ws/audio"))
        assert (await read_head(stream)).startswith(b"HTTP/1.1 101 ")
        call = StreamCaller(stream)
        assert await call.ask(b"hi") == b"hi"
        _, port = stream.socket.getsockname()
        await call.leave()
        for event in ("session_started", "session_ended"):
            # The headers do not tell the port.
            peer = f"{CALLER}:{port}" if server else CALLER
            assert instance.logged(event)["peer"] == peer

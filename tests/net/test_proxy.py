"""The PROXY protocol: headers as bytes, and the connections that begin with them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from service.net.preamble import read_header
from service.net.proxy import MAX_HEADER_BYTES, Header, MalformedHeader, parse
from tests.peers.callers import StreamCaller, tcp_pair
from tests.peers.logged import entries
from tests.peers.proxies import LOCAL, PROXY, SIGNATURE, binary, line, tcp
from tests.peers.reach import read_head, upgrade_request
from tests.peers.serving import serving, terminate

ports = st.integers(0, 65535)
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str).filter(
    lambda text: not text.startswith("::ffff:")
)
clients = st.tuples(addresses, ports)
anonymous = st.one_of(
    st.just(b"PROXY UNKNOWN\r\n"),
    st.binary(max_size=91)
    .filter(lambda rest: b"\r\n" not in rest + b"\r")
    .map(lambda rest: b"PROXY UNKNOWN " + rest + b"\r\n"),
    st.tuples(st.sampled_from([0x11, 0x21]) | st.integers(0, 255), st.binary(max_size=300)).map(
        lambda p: binary(LOCAL, *p)
    ),
    st.tuples(
        st.sampled_from([0x00, 0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32]),
        st.binary(max_size=300),
    ).map(lambda p: binary(PROXY, *p)),
)
#: A header and the client that it names.
named = clients.flatmap(
    lambda client: st.tuples(
        st.one_of(
            st.just(line(*client)),
            st.binary(max_size=300).map(lambda tlvs: tcp(*client, tlvs)),
        ),
        st.just(client),
    )
)
headers = named | st.tuples(anonymous, st.none())


@given(headers, st.binary(max_size=50), st.data())
def test_a_header_is_known_by_its_last_byte_wherever_it_is_cut(
    told: tuple[bytes, tuple[str, int] | None], behind: bytes, data: st.DataObject
) -> None:
    header, client = told
    cut = data.draw(st.integers(0, len(header) - 1))
    assert parse(header[:cut]) is None
    assert parse(header + behind) == Header(len(header), client)


@given(st.binary(max_size=200) | headers.map(lambda told: told[0]), st.binary(min_size=1))
def test_any_bytes_are_a_header_a_part_of_one_or_malformed_and_more_bytes_do_not_change_that(
    data: bytes, more: bytes
) -> None:
    def verdict(data: bytes) -> Header | str | None:
        try:
            return parse(data)
        except MalformedHeader:
            return "malformed"

    first = verdict(data)
    if first is not None:
        assert verdict(data + more) == first


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"proxy ", b"PROXY\r\n", b"\r\n\r\n\x01",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n", b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 2\r\n", b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n", b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 " + b"1" * 107, b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        SIGNATURE + b"\x11", SIGNATURE + b"\x22", SIGNATURE + b"\x21\x41", SIGNATURE + b"\x21\x13",
        binary(PROXY, 0x11, bytes(11)), binary(PROXY, 0x21, bytes(35)),
        SIGNATURE + b"\x21\x11\x00\x0b", SIGNATURE + b"\x20\x00\xff\xff",
        SIGNATURE + b"\x21\x11" + (MAX_HEADER_BYTES - 15).to_bytes(2),
    ],
)  # fmt: skip
def test_what_is_against_the_specification_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedHeader):
        parse(data)


def test_the_longest_headers_are_taken() -> None:
    longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    assert parse(line(longest, 65535, longest, 65535)) == Header(104, (longest, 65535))
    assert parse(b"PROXY UNKNOWN " + b"\xff" * 91 + b"\r\n") == Header(107, None)
    tlvs = bytes(MAX_HEADER_BYTES - 28)
    assert parse(tcp("192.0.2.1", 1, tlvs)) == Header(MAX_HEADER_BYTES, ("192.0.2.1", 1))


def test_an_ipv4_address_in_ipv6_is_told_as_what_it_is() -> None:
    for header in (line("::ffff:192.0.2.1", 1), tcp("::ffff:192.0.2.1", 1)):
        told = parse(header)
        assert told is not None
        assert told.client == ("192.0.2.1", 1)


@pytest.mark.parametrize("header", [line("192.0.2.1", 5), tcp("192.0.2.1", 5, bytes(50))])
async def test_a_header_is_read_to_its_end_and_no_further_though_it_comes_byte_by_byte(
    header: bytes,
) -> None:
    for pieces in ([header[n : n + 1] for n in range(len(header))], [header]):
        accepted, connected = await tcp_pair()
        told: list[object] = []
        with accepted:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def read() -> None:
                    told.append(await read_header(accepted))  # noqa: B023

                for piece in [*pieces[:-1], pieces[-1] + b"behind"]:
                    await connected.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
            assert told == [("192.0.2.1", 5)]
            assert accepted.recv(100) == b"behind"
        await connected.aclose()


async def test_an_end_in_the_middle_is_malformed_and_a_connection_without_a_byte_just_ends() -> (
    None
):
    for sent, error in ((b"PROXY TC", MalformedHeader), (b"", trio.BrokenResourceError)):
        accepted, connected = await tcp_pair()
        if sent:
            await connected.send_all(sent)
        await connected.aclose()
        with accepted, pytest.raises(error):
            await read_header(accepted)


async def test_a_reset_is_the_end_of_the_connection() -> None:
    accepted, connected = await tcp_pair()
    await StreamCaller(connected).reset()
    with accepted, pytest.raises(trio.BrokenResourceError):
        await read_header(accepted)


TRUSTING: dict[str, Any] = {"trusted_proxies": "127.0.0.0/8", "proxy_protocol": True}
HEALTH_CHECK = binary(LOCAL, 0, b"")
REFUSED = 'rt_audio_connections_refused_total{dialect="none",reason="proxy_header"}'
SetUp = Callable[[str, str], None]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_call_behind_a_proxy_has_the_clients_address_in_its_log_lines(
    tls: bool, capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    told = {
        "192.0.2.1:5": line("192.0.2.1", 5),
        "[2001:db8::1]:6": tcp("2001:db8::1", 6, b"\x04\x00\x01\x00"),
        "127.0.0.1:": b"PROXY UNKNOWN\r\n",  # where the client is unknown, the proxy itself
    }
    async with serving(tls, **TRUSTING) as service:
        for header in told.values():
            service.preamble = header
            call = await service.call()
            assert await call.ask(b"hi") == b"hi"
            await call.leave()
    said = [entry for entry in entries(capfd) if "session" in entry]
    assert len(said) == 2 * len(told)
    for entry, peer in zip(said, [peer for peer in told for _ in range(2)], strict=True):
        assert str(entry["peer"]).startswith(peer)


async def test_a_plain_request_and_a_health_check_behind_a_proxy_are_answered() -> None:
    async with serving(**TRUSTING) as service:
        for header in (line("192.0.2.1", 5), HEALTH_CHECK):
            stream = await service.connect()
            await stream.send_all(header + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_head(stream)).startswith(b"HTTP/1.1 200 ")


async def test_a_trusted_proxy_without_a_header_is_hung_up_on_counted_and_logged_sparsely(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    async with serving(**TRUSTING) as service:
        for data in (upgrade_request("/ws/audio"), b"PROXY TCP4 x\r\n", SIGNATURE + b"\x00"):
            stream = await service.connect()
            await stream.send_all(data)
            with trio.fail_after(5), suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        service.preamble = HEALTH_CHECK
        assert await service.metric(REFUSED) == 3
    [entry] = entries(capfd, "connection_refused")
    assert entry["reason"] == "proxy_header"
    assert "begins with something else" in str(entry["message"])
    assert str(entry["peer"]).startswith("127.0.0.1:")


async def test_a_header_that_does_not_come_in_time_ends_its_connection_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.net.preamble._HEADER_SECONDS", 0.2)
    async with serving(**TRUSTING) as service:
        stream = await service.connect()
        await stream.send_all(b"PROXY TCP4 ")
        with trio.fail_after(5):
            assert await stream.receive_some() == b""
        service.preamble = HEALTH_CHECK
        assert await service.metric(REFUSED) == 1


async def test_a_proxy_that_says_nothing_holds_neither_the_exit_nor_a_newcomers_place() -> None:
    async with serving(max_sessions=1, **TRUSTING) as service:
        waiting = []
        for _ in range(150):
            stream = await service.connect()
            await stream.send_all(b"PROXY ")
            waiting.append(stream)
        service.preamble = HEALTH_CHECK
        assert (await service.get("/health"))[0] == 200
        with trio.fail_after(5):
            assert await waiting[0].receive_some() == b""
        terminate()
        with trio.fail_after(5):
            await service.stopped.wait()


async def test_who_is_not_trusted_needs_no_header_and_none_of_his_is_believed(
    capfd: pytest.CaptureFixture[str], set_up_logs: SetUp
) -> None:
    set_up_logs("info", "json")
    async with serving(trusted_proxies="192.0.2.0/24", proxy_protocol=True) as service:
        call = await service.call()
        assert await call.ask(b"hi") == b"hi"
        for header in (line("192.0.2.1", 5), tcp("192.0.2.1", 5)):
            stream = await service.connect()
            await stream.send_all(header + upgrade_request("/ws/audio"))
            assert (await read_head(stream)).startswith(b"HTTP/1.1 400 ")
    started = entries(capfd, "session_started")
    assert [str(entry["peer"]).split(":")[0] for entry in started] == ["127.0.0.1"]

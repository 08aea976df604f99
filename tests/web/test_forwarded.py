"""Whom X-Forwarded-For and `Forwarded` name, as far as the proxies that wrote them are trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.networks import Networks
from service.web.forwarded import Node, client

TRUSTED = Networks(["10.0.0.0/8", "fd00::/8"])
PROXY = ("10.0.0.1", 4711)


def told(*forwarded_for: str, forwarded: tuple[str, ...] = ()) -> Node:
    """Return the client of a request with these lines, which came from a trusted proxy."""
    return client(PROXY, list(forwarded_for), list(forwarded), TRUSTED)


@pytest.mark.parametrize(
    ("lines", "node"),
    [
        ([], PROXY),
        (["192.0.2.1"], ("192.0.2.1", None)),
        (["192.0.2.1:80"], ("192.0.2.1", 80)),
        (["2001:db8::1"], ("2001:db8::1", None)),
        (["[2001:db8::1]"], ("2001:db8::1", None)),
        (["[2001:DB8::1]:80"], ("2001:db8::1", 80)),
        (["::ffff:192.0.2.1"], ("192.0.2.1", None)),
        # What stands left of the first that is not trusted is that one's own word.
        (["6.6.6.6, 192.0.2.1"], ("192.0.2.1", None)),
        (["6.6.6.6", "192.0.2.1"], ("192.0.2.1", None)),
        (["6.6.6.6, 192.0.2.1, 10.0.0.3 ,fd00::2"], ("192.0.2.1", None)),
        (["10.0.0.9, 10.0.0.3"], ("10.0.0.9", None)),
        # The search ends at what is no address.
        (["192.0.2.1, unknown, 10.0.0.3"], ("10.0.0.3", None)),
        (["192.0.2.1, , 10.0.0.3"], ("10.0.0.3", None)),
        (["192.0.2.1, _hidden"], PROXY),
        (["192.0.2.1:99999999"], PROXY), (["192.0.2.1:99999"], PROXY), (["192.0.2.256"], PROXY),
        (["2001:db8::1:::80"], PROXY), (["[2001:db8::1"], PROXY), ([""], PROXY),
        (['"192.0.2.1"'], PROXY), (["for=192.0.2.1"], PROXY), (["10.0.0.3,"], PROXY),
    ],
)  # fmt: skip
def test_x_forwarded_for_names_the_rightmost_address_that_is_not_trusted(
    lines: list[str], node: Node
) -> None:
    assert told(*lines) == node


@pytest.mark.parametrize(
    ("lines", "node"),
    [
        (["for=192.0.2.1"], ("192.0.2.1", None)),
        (["For=192.0.2.1;proto=https;by=10.0.0.1"], ("192.0.2.1", None)),
        (['by=10.0.0.1 ; FOR="[2001:db8::1]:80"'], ("2001:db8::1", 80)),
        (['for="192.0.2.1:_port"'], ("192.0.2.1", None)),
        ([r'for="\192.0.2.1"'], ("192.0.2.1", None)),
        (["for=6.6.6.6, for=192.0.2.1,for=10.0.0.3"], ("192.0.2.1", None)),
        (["for=6.6.6.6", "for=192.0.2.1"], ("192.0.2.1", None)),
        (['for=6.6.6.6;by="a, for=6.6.6.6", for=192.0.2.1'], ("192.0.2.1", None)),
        # A quote that the caller left open hides nothing of what a proxy says on its own line.
        (['for="6.6.6.6', "for=192.0.2.1"], ("192.0.2.1", None)),
        (['for="6.6.6.6, for=192.0.2.1'], PROXY),
        (['for=6.6.6.6;x=", for="[2001:db8::1]"'], PROXY),
        (["for=unknown"], PROXY), (["for=_hidden"], PROXY), (["proto=https"], PROXY),
        (["for=192.0.2.1, proto=https"], PROXY), (["for=[2001:db8::1]"], PROXY),
        (["192.0.2.1"], PROXY), ([""], PROXY), (["for=192.0.2.1,"], PROXY),
    ],
)  # fmt: skip
def test_forwarded_does_the_same(lines: list[str], node: Node) -> None:
    assert told(forwarded=tuple(lines)) == node


def test_where_both_are_there_x_forwarded_for_counts() -> None:
    """A proxy that writes it would let a caller's own `Forwarded` through."""
    assert told("192.0.2.1", forwarded=("for=6.6.6.6",)) == ("192.0.2.1", None)


def test_nobody_is_believed_who_is_not_trusted() -> None:
    peer = ("198.51.100.1", 1)
    assert client(peer, ["192.0.2.1"], ["for=192.0.2.1"], TRUSTED) is peer
    assert client(PROXY, ["192.0.2.1"], ["for=192.0.2.1"], Networks([])) is PROXY


def test_a_chain_without_an_end_is_not_followed_for_long() -> None:
    chain = [f"10.0.{number // 100}.{number % 100}" for number in range(1000)]
    for lines in (["192.0.2.1", *chain], [",".join(["192.0.2.1", *chain])]):
        assert told(*lines) == ("10.0.9.80", None)


header = st.text('for=;,:."\\[] \t0123456789abcdef_unkow', max_size=80)


@given(st.lists(header, max_size=3), st.lists(header, max_size=3))
def test_any_headers_name_an_address(forwarded_for: list[str], forwarded: list[str]) -> None:
    host, port = client(PROXY, forwarded_for, forwarded, TRUSTED)
    assert host == PROXY[0] or Networks([host])
    assert port is None or 0 <= port <= 65535

"""Networks as an operator lists them."""

import pytest

from service.networks import Networks, endpoint, network


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.0.0.1", True), ("10.255.255.255", True), ("11.0.0.0", False), ("192.0.2.1", True),
        ("192.0.2.2", False), ("2001:db8::5", True), ("2001:db9::", False),
        ("::ffff:10.1.2.3", True), ("::ffff:11.1.2.3", False), ("10.0.0.1:80", False),
        ("unknown", False), ("", False), ("/run/socket", False),
    ],
)  # fmt: skip
def test_an_address_is_in_one_of_the_networks_or_in_none(address: str, inside: bool) -> None:
    networks = Networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])
    assert (address in networks) is inside
    assert address not in Networks([])


@pytest.mark.parametrize(
    "text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "unix:", "proxy.example", "*", "10.0.0"]
)
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network") as caught:
        Networks(["10.0.0.0/8", text])
    assert repr(text) in str(caught.value)


def test_an_ipv6_address_with_a_port_has_brackets() -> None:
    assert endpoint("2001:db8::1", 80) == "[2001:db8::1]:80"
    assert endpoint("192.0.2.1", 80) == "192.0.2.1:80"
    assert endpoint("2001:db8::1", None) == "2001:db8::1"


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv4_address_counts_alone_and_an_ipv6_address_with_its_network(
    address: str, counts_as: str
) -> None:
    assert network(address) == counts_as

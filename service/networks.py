"""IP addresses, and networks of them: whose word about a caller counts, and who counts as one."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def address(text: str) -> IPv4Address | IPv6Address:
    """Return the address that a text writes; raise ValueError.

    An IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`) is that IPv4 address.
    """
    found = ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


def network(text: str) -> str:
    """Return what counts as one address where a limit is for each: of IPv6 it is the /64.

    A provider's customer has a whole /64. A text that is no address counts as itself.
    """
    if ":" not in text:
        return text
    try:
        found = address(text)
    except ValueError:
        return text
    if isinstance(found, IPv4Address):
        return str(found)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


class Networks:
    """Networks as an operator lists them: `10.0.0.0/8`, `2001:db8::/32`, or a single address."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raise ValueError, which names the text that is no network."""
        self._networks = []
        for text in texts:
            try:
                self._networks.append(ip_network(text))
            except ValueError:
                raise ValueError(f"{text!r} is not a network") from None

    def __contains__(self, text: str) -> bool:
        """Return whether a text is an address in one of the networks."""
        if not self._networks:
            return False
        try:
            found = address(text)
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def endpoint(host: str, port: int | None) -> str:
    """Return an address and its port, if it is known, as logs have them; IPv6 in brackets."""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

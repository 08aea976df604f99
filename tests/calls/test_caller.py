"""Who calls: what the logs say of it, and which `traceparent` is one."""

import pytest

from service.calls.caller import Caller, valid_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "text", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-comes"]
)
def test_a_traceparent_is_known_in_this_version_and_in_later_ones(text: str) -> None:
    assert valid_traceparent(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-1",
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01what", f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    assert valid_traceparent(text) is None


def test_only_what_is_known_is_said() -> None:
    assert Caller("192.0.2.1").known() == {"peer": "192.0.2.1"}
    caller = Caller("2001:db8::1", 80, ("10.0.0.1", 5), "a browser", "r1", f"00-{TRACE}-{SPAN}-01")
    assert caller.ids() == {"peer": "[2001:db8::1]:80", "request_id": "r1", "trace_id": TRACE}
    assert caller.known() == caller.ids() | {"via": "10.0.0.1:5", "user_agent": "a browser"}

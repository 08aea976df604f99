"""A roll-out behind a real HAProxy: the short run, judged by what it counts, never by time."""

import pytest

from tests.deploy.rolling_restart import QUICK, replace_all

pytestmark = pytest.mark.integration("haproxy", "haproxy")


def test_two_instances_are_replaced_and_no_call_is_dropped() -> None:
    outcome = replace_all(QUICK, streams=16)
    assert outcome.broken() == [], outcome
    assert outcome.going_away > 0

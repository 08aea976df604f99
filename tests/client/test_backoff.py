"""Back-off: its bounds, its jitter, and its end, on a virtual clock."""

import random

import pytest
import trio.testing

from service.client.backoff import FIRST_SECONDS, LONGEST_SECONDS, PATIENCE_SECONDS, Backoff

Clock = trio.testing.MockClock


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the upper bound, always."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


@pytest.mark.usefixtures("longest")
async def test_bounds_double_up_to_the_longest() -> None:
    backoff = Backoff()
    bounds = [backoff.after_failure(0, 0) for _ in range(8)]
    assert bounds == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert (bounds[0], bounds[-1]) == (FIRST_SECONDS, LONGEST_SECONDS)


async def test_waits_are_spread_over_the_whole_range() -> None:
    random.seed(1)
    waits = [Backoff().after_failure(0, 0) or 0.0 for _ in range(1000)]
    assert all(0 <= wait <= FIRST_SECONDS for wait in waits)
    for tenth in range(10):
        share = [wait for wait in waits if tenth <= 10 * wait / FIRST_SECONDS < tenth + 1]
        assert 50 < len(share) < 150


@pytest.mark.usefixtures("longest")
async def test_what_the_other_side_asks_for_comes_before_the_jitter() -> None:
    assert Backoff().after_failure(2, 0) == 2 + FIRST_SECONDS


@pytest.mark.usefixtures("longest")
async def test_a_success_begins_anew(autojump_clock: Clock) -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after_failure(0, 0)
    await trio.sleep(PATIENCE_SECONDS)
    assert backoff.after_failure(0, 1) == FIRST_SECONDS
    assert backoff.after_failure(0, 1) == 2 * FIRST_SECONDS
    await trio.sleep(PATIENCE_SECONDS)
    assert backoff.after_failure(0, 1) is None


async def test_no_try_where_none_would_help() -> None:
    assert Backoff().after_failure(None, 1) is None


async def test_no_wait_that_ends_when_patience_has_ended() -> None:
    assert Backoff().after_failure(PATIENCE_SECONDS + 1, 0) is None
    assert Backoff().after_failure(float("inf"), 0) is None


@pytest.mark.usefixtures("longest")
async def test_patience_bounds_the_whole(autojump_clock: Clock) -> None:
    backoff = Backoff()
    began, tries = trio.current_time(), 0
    while (wait := backoff.after_failure(0, 0)) is not None:
        tries += 1
        await trio.sleep(wait)
    waited = trio.current_time() - began
    assert PATIENCE_SECONDS - LONGEST_SECONDS < waited <= PATIENCE_SECONDS
    assert tries == 9

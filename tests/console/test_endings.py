"""What the console says when a call ends or is refused, in a real Chromium."""

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browsing import (
    INSECURE_HOST,
    address,
    browsing,
    choose,
    chromium,
    connect,
    disconnect,
    needs_chromium,
    says,
)
from tests.test_cli import Served, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Have a service that wants a token, takes one call, and small frames."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text("sesame\nopen/sesame==\n")
    with serving(
        RT_AUDIO_TOKENS_FILE=str(tokens),
        RT_AUDIO_MAX_SESSIONS="1",
        RT_AUDIO_MAX_FRAME_BYTES="512",
        RT_AUDIO_CODEC_ORDER="numpy,pure_python",
    ) as served:
        yield served


def test_a_drain_is_told_and_then_that_nobody_answers(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        served.process.send_signal(signal.SIGTERM)
        page.get_by_role("tab", name="Service").click()
        expect(page.locator("#service-state")).to_contain_text("Draining")
        page.get_by_role("tab", name="Call").click()
        served.process.send_signal(signal.SIGINT)
        says(page, "Closed with 1001", "The service is going away", "Connect again")
        assert served.status() == 1
        page.get_by_role("button", name="Connect").click()
        says(page, "Not connected", "The service does not answer")


def test_a_refused_token_is_told_and_a_known_one_admits(browser: Browser, strict: Served) -> None:
    with browsing(browser, address(strict)) as (page, _):
        field = page.get_by_label("Token")
        for wrong in ("", "guess"):
            field.fill(wrong)
            page.get_by_role("button", name="Connect").click()
            says(page, "refused the token", "RT_AUDIO_TOKENS_FILE")
        for known in ("sesame", "open/sesame=="):
            field.fill(known)
            expect(page.get_by_text("which proxies may log")).to_be_visible(visible="/" in known)
            connect(page)
            expect(page.locator("#codec")).to_have_text("numpy")
            disconnect(page)
        assert "sesame" not in page.locator("pre").all_inner_texts()


def test_hanging_up_before_the_call_is_connected_is_no_failure(
    browser: Browser, strict: Served
) -> None:
    with browsing(browser, address(strict)) as (page, _):
        page.get_by_label("Token").fill("sesame")
        page.evaluate("""() => {
          document.querySelector("#connect").click();
          document.querySelector("#connect").click();
        }""")
        says(page, "Disconnected", "You hung up")


def test_a_full_service_and_too_large_a_frame_are_told(browser: Browser, strict: Served) -> None:
    url = address(strict)
    with browsing(browser, url) as (one, _), browsing(browser, url) as (other, _):
        for page in (one, other):
            page.get_by_label("Token").fill("sesame")
        connect(one)
        other.get_by_role("button", name="Connect").click()
        says(other, "The service is full", "RT_AUDIO_MAX_SESSIONS")
        choose(one, rate="48000")
        assert "more than the 512 bytes" in one.locator("#frame-size").inner_text()
        says(one, "Closed with 1009", "Choose shorter frames")


def test_a_page_in_the_clear_sends_and_draws_but_says_what_it_cannot(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served, INSECURE_HOST)) as (page, _):
        choose(page, source="Tone")
        connect(page)
        says(page, "Connected", "Nothing is played")
        disconnect(page)
        choose(page, source="Microphone")
        page.get_by_role("button", name="Connect").click()
        says(page, "Not connected", "https or from localhost")

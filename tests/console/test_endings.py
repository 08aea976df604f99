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
    connect,
    disconnect,
    needs_chromium,
    says,
    wait_for_frames,
)
from tests.peers.processes import Served, serving

pytestmark = needs_chromium


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


def test_a_service_that_stops_answering_is_told_within_a_second(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        page.evaluate(_NOTE_FIRST_SILENCE)
        stopped_at = page.evaluate("performance.now()")
        served.process.send_signal(signal.SIGSTOP)
        says(page, "No reply for 1 s", "frames wait for a reply")
        told_at = page.evaluate("silentAt")
        assert told_at - stopped_at < 1000
        assert page.locator("#lost").inner_text() == "0"
        served.process.send_signal(signal.SIGCONT)
        says(page, "Connected")
        disconnect(page)
        assert page.locator("#lost").inner_text() == "0"


_NOTE_FIRST_SILENCE = """new MutationObserver((_, observer) => {
  if (!document.querySelector("#state-title").textContent.startsWith("No reply")) return;
  window.silentAt = performance.now();
  observer.disconnect();
}).observe(document.querySelector("#state"), { childList: true, subtree: true })"""


def test_lost_frames_are_those_sent_without_a_reply(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        served.process.send_signal(signal.SIGSTOP)
        says(page, "No reply for 1 s")
        waiting = int(page.locator("#state-what").inner_text().split("; ")[1].split()[0])
        page.get_by_role("button", name="Disconnect").click()
        says(page, "Disconnected")  # though the service answers no close frame
        lost = int(page.locator("#lost").inner_text())
        assert waiting <= lost <= waiting + 100  # what was sent until the click


def test_a_call_goes_on_with_the_next_instance_after_1001(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        before = int(page.evaluate(_FRAMES))
        served.process.send_signal(signal.SIGTERM)
        page.get_by_role("tab", name="Service").click()
        expect(page.locator("#service-state")).to_contain_text("Draining")
        page.get_by_role("tab", name="Call").click()
        served.process.send_signal(signal.SIGINT)
        says(page, "Reconnecting", "Closed with 1001", "The service is going away", "Try ")
        assert served.status() == 1
        with serving(port=served.port) as next_instance:
            says(page, "Connected", "Reconnected after", "Frames lost so far")
            wait_for_frames(page, before + 30)
            started = next_instance.logged("session_started")
            assert started["reply"] == "ulaw"
            disconnect(page)


def test_hanging_up_ends_the_reconnecting(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        served.process.kill()
        says(page, "Reconnecting", "Closed with 1006")
        page.get_by_role("button", name="Disconnect").click()
        says(page, "Disconnected", "You hung up")
        page.get_by_role("button", name="Connect").click()
        says(page, "Not connected", "The service does not answer")


_FRAMES = "document.querySelector('#readouts').dataset.frames"


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


def test_the_token_can_be_entered_on_a_phone_and_enter_connects(
    browser: Browser, strict: Served
) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    with browsing(browser, address(strict), **phone) as (page, _):
        field = page.get_by_label("Token")
        expect(field).to_be_visible()
        field.fill("sesame")
        field.press("Enter")
        says(page, "Connected")
        field.press("Enter")
        says(page, "Connected")
        disconnect(page)

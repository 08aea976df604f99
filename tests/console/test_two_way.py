"""The console in a two-way call with a real handler, in a real Chromium."""

import json
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browsing import (
    INSECURE_HOST,
    address,
    browsing,
    choose,
    connect,
    disconnect,
    faint,
    fills,
    needs_chromium,
    says,
    screenshot,
    until,
)
from tests.peers.processes import Served, serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(RT_AUDIO_HANDLER="tests.peers.bots:interrupted") as served:
        yield served


def said(page: Page, kind: str) -> str:
    """Return the next text of this kind that the page lists, once it is there."""
    line = page.locator("#said li").filter(has_text=re.compile(f"^{kind} ")).first
    expect(line).to_be_visible()
    return line.inner_text().partition(" ")[2]


@pytest.mark.parametrize("host", ["127.0.0.1", INSECURE_HOST])
def test_a_bot_is_heard_interrupted_and_told_what_was_heard(
    browser: Browser, served: Served, host: str
) -> None:
    """In a page that may not play anything a clock takes the loudspeaker's place."""
    with browsing(browser, address(served, host)) as (page, _):
        expect(page.locator("#lamp")).to_be_visible()
        expect(page.get_by_role("button", name="5", exact=True)).to_be_disabled()
        connect(page, frames=30)
        expect(page.locator("#lamp")).to_have_text("The bot speaks")
        page.get_by_role("button", name="5", exact=True).click()
        assert said(page, "you") == "5"
        heard = float(said(page, "cleared").split()[0])
        told = json.loads(said(page, "message"))
        assert told["told"] == "5"
        assert told["heard"] == pytest.approx(1000 * heard, abs=10)
        assert 300 < told["heard"] < 3900
        # The bot sends these only once the page has returned its mark.
        assert said(page, "digits") == "42#"
        expect(page.locator("#lamp")).to_have_text("The bot is silent")
        expect(page.locator("#clears")).to_have_text("1")
        until(page, "parseFloat(document.querySelector('#heard').textContent) > 0.3")
        disconnect(page)
        expect(page.get_by_role("button", name="5", exact=True)).to_be_disabled()


def test_what_only_an_echo_has_is_hidden(browser: Browser, served: Served) -> None:
    tall = {"width": 1280, "height": 1500}
    with browsing(browser, address(served), viewport=tall) as (page, _):
        connect(page, frames=30)
        for hidden in ("Round trip of each frame", "Signal to noise of each frame, dB"):
            expect(page.get_by_role("heading", name=hidden)).to_be_hidden()
        for hidden in ("#p50", "#lost", "#gaps", "#snr"):
            expect(page.locator(hidden)).to_be_hidden()
        for canvas, colour in (("scope", "sent"), ("scope", "received"), ("spectrum", "received"),
                               ("depth-plot", "good")):  # fmt: skip
            fills(page, canvas, colour)
        assert faint(page) == []
        screenshot(page, "two-way")


def test_the_page_of_an_echo_has_no_bot(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        connect(page)
        expect(page.get_by_role("heading", name="The bot")).to_be_hidden()
        expect(page.get_by_role("heading", name="Round trip of each frame")).to_be_visible()


def test_a_handler_that_has_said_all_hangs_up(browser: Browser) -> None:
    with (
        serving(RT_AUDIO_HANDLER="tests.peers.bots:announce") as served,
        browsing(browser, address(served)) as (page, _),
    ):
        page.get_by_role("button", name="Connect").click()
        says(page, "Disconnected", "The service hung up")
        assert json.loads(said(page, "message"))["heard"] == 300


def test_a_handlers_bug_is_not_called_ours_alone(browser: Browser) -> None:
    with (
        serving(RT_AUDIO_HANDLER="tests.peers.bots:broken") as served,
        browsing(browser, address(served)) as (page, _),
    ):
        page.get_by_role("button", name="Connect").click()
        says(page, "Closed with 1011", "or of the handler")


def test_a_service_that_stops_is_noticed_though_a_bot_may_be_silent(browser: Browser) -> None:
    with (
        serving(RT_AUDIO_HANDLER="tests.peers.bots:last_words") as served,
        browsing(browser, address(served)) as (page, _),
    ):
        connect(page, frames=100)
        says(page, "Connected")  # this bot has not said a word
        served.process.send_signal(signal.SIGSTOP)
        says(page, "No answer for 3 s", "The service does not answer.")
        served.process.send_signal(signal.SIGCONT)
        says(page, "Connected")
        disconnect(page)


def test_the_microphone_does_not_hear_the_bot(browser: Browser, served: Served) -> None:
    with browsing(browser, address(served)) as (page, _):
        page.evaluate("""() => {
          const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = (wanted) => {
            window.wanted = wanted.audio;
            return open(wanted);
          };
        }""")
        choose(page, source="Microphone")
        expect(page.get_by_role("switch", name="Play what comes back")).to_be_checked()
        connect(page)
        assert page.evaluate("window.wanted.echoCancellation") is True

"""The console in a real Chromium against the running service: calls, pictures, keyboard, code."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from service import codec
from service.audio import wav
from tests.console.browsing import (
    Witness,
    address,
    breaks,
    browsing,
    choose,
    connect,
    disconnect,
    drawn,
    faint,
    fills,
    needs_chromium,
    reset,
    says,
    screenshot,
    state,
    until,
    wait_for_frames,
)
from tests.peers.processes import ROOT, Served, serving

pytestmark = needs_chromium

SPEECH = ROOT / "tests" / "data" / "speech.wav"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def opened(browser: Browser, served: Served) -> Iterator[tuple[Page, Witness]]:
    # High enough for all plots, which are drawn only while in view.
    tall = {"width": 1280, "height": 1500}
    with browsing(browser, address(served), viewport=tall) as opened:
        yield opened


@pytest.fixture
def page(opened: tuple[Page, Witness]) -> Iterator[Page]:
    """One page for the tests that leave it as they find it."""
    page, witness = opened
    yield page
    reset(page)
    witness.content(page)


@cache
def speech() -> bytes:
    return wav.read(SPEECH).data


def ratio(frames: int, encoding: str, reply: str) -> float:
    """Return the signal-to-noise ratio in dB of that many 20 ms frames of speech, looped."""
    pcm = (speech() * 2)[: frames * 320]
    back = pcm
    for law in [each for each in (encoding, reply) if each != "pcm16"]:
        g711 = codec.choose("numpy", law)
        back = g711.decode(g711.encode(back))
    sent = np.frombuffer(pcm, "<i2").astype(float)
    error = np.frombuffer(back, "<i2") - sent
    return float(10 * np.log10(np.sum(sent**2) / np.sum(error**2)))


# Calls


def test_no_picture_is_filled_before_a_call(browser: Browser, served: Served) -> None:
    with browsing(browser, address(served)) as (page, _):
        for colour in ("sent", "received", "error"):
            assert drawn(page, "scope", colour) < 200  # its label
        assert drawn(page, "meters", "sent") == 0


def test_the_page_works_on_the_admin_listener(browser: Browser) -> None:
    with serving(RT_AUDIO_ADMIN_PORT="0") as served:
        url = f"http://127.0.0.1:{served.logged('admin_listening')['port']}/"
        with browsing(browser, url) as (page, _):
            connect(page)
            until(page, "document.querySelector('#service-state').dataset.title === 'Taking calls'")


@pytest.mark.parametrize("source", ["Speech", "Microphone", "Tone", "Sweep", "File"])
def test_each_source_is_sent_and_its_pictures_fill(page: Page, source: str) -> None:
    if source == "File":
        page.locator("input[type=file]").set_input_files(SPEECH)
        expect(page.get_by_role("radio", name="File")).to_be_checked()
        expect(page.locator("#file-name")).to_have_text("speech.wav")
    else:
        choose(page, source=source)
    connect(page, frames=25)
    expect(page.locator("#state-title")).to_have_text("Connected")
    for canvas, colour, pixels in (
        ("scope", "sent", 400), ("scope", "received", 400), ("scope", "error", 400),
        ("round", "sent", 40), ("spectrum", "received", 40), ("ratio", "error", 10),
        ("depth-plot", "good", 40), ("meters", "sent", 400),
    ):  # fmt: skip
        fills(page, canvas, colour, pixels)
    expect(page.get_by_role("switch", name="Play what comes back")).to_be_checked(
        checked=source != "Microphone"
    )
    disconnect(page)


@pytest.mark.parametrize(
    ("encoding", "reply", "tier"),
    [
        ("pcm16", "ulaw", "audioop"),
        ("pcm16", "alaw", "numpy"),
        ("ulaw", "pcm16", "pure_python"),
        ("alaw", "pcm16", "audioop"),
        ("ulaw", "alaw", "numpy"),
        ("alaw", "ulaw", "pure_python"),
    ],
)
def test_the_ratio_is_the_one_that_python_finds_in_the_same_samples(
    page: Page, served: Served, encoding: str, reply: str, tier: str
) -> None:
    before = served.metrics()
    choose(page, source="Speech", encoding=encoding, reply=reply, codec=tier)
    connect(page, frames=60)
    expect(page.locator("#codec")).to_have_text(tier)
    disconnect(page)
    assert page.locator("#lost").inner_text() == "0"
    told = page.evaluate("({...document.querySelector('#readouts').dataset})")
    assert float(told["snr"]) == pytest.approx(ratio(int(told["frames"]), encoding, reply), abs=0.1)
    assert re.match(r"\d\d\.\d", page.locator("#snr").inner_text())
    after = served.metrics()
    direction, law = ("decode", encoding) if reply == "pcm16" else ("encode", reply)
    series = f'rt_audio_{direction}_seconds_count{{codec="{tier}",law="{law}"}}'
    assert after[series] - before[series] >= int(told["frames"])
    completed = 'rt_audio_sessions_total{dialect="raw",outcome="completed"}'
    assert after[completed] - before[completed] == 1


def test_bit_exact_is_said_only_where_nothing_is_drawn_as_difference(page: Page) -> None:
    choose(page, source="Sweep", encoding="pcm16", reply="pcm16")
    connect(page)
    expect(page.locator("#snr")).to_have_text("bit-exact")
    fills(page, "scope", "sent", 400)
    assert drawn(page, "ratio", "error") == 0
    disconnect(page)
    choose(page, encoding="alaw", reply="alaw")  # the same bytes, though not the source's samples
    connect(page)
    fills(page, "ratio", "error", 10)
    expect(page.locator("#snr")).to_have_text(re.compile(r"\d\d\.\d"))
    expect(page.locator("#ratio-note")).to_contain_text("bytes came back untouched")
    disconnect(page)


@pytest.mark.parametrize(
    ("source", "rate", "frame", "size"),
    [("Microphone", "48000", "40", 3840), ("Speech", "24000", "60", 2880)],
)
def test_frames_have_the_chosen_length_at_the_chosen_rate(
    page: Page, served: Served, source: str, rate: str, frame: str, size: int
) -> None:
    before = served.metrics()
    choose(page, source=source, rate=rate, frame=frame)
    assert f"{size:,} bytes a frame" in page.locator("#frame-size").inner_text()
    connect(page)
    disconnect(page)
    after = served.metrics()
    total, count = (
        after[series] - before[series]
        for series in (
            f'rt_audio_frame_size_bytes_{each}{{encoding="pcm16"}}' for each in ("sum", "count")
        )
    )
    assert (count > 0, total / count) == (True, size)


def test_the_sessions_id_and_codec_are_shown_as_the_service_logs_them(
    browser: Browser,
) -> None:
    with serving(RT_AUDIO_CODEC_ORDER="numpy") as served:
        url = address(served)
        with browsing(browser, url, permissions=["clipboard-read", "clipboard-write"]) as (page, _):
            connect(page)
            started = served.logged("session_started")
            expect(page.locator("#session")).to_have_text(started["session"])
            expect(page.locator("#codec")).to_have_text("numpy")
            page.get_by_role("button", name="Copy the session's id").click()
            expect(page.locator("#session-copied")).to_have_text("Copied.")
            assert page.evaluate("navigator.clipboard.readText()") == started["session"]


def test_another_setting_during_a_call_begins_a_new_one(page: Page) -> None:
    connect(page)
    choose(page, codec="numpy")
    expect(page.locator("#codec")).to_have_text("numpy")
    wait_for_frames(page, 10)
    expect(page.locator("#state-title")).to_have_text("Connected")


def test_muting_sends_silence_and_keeps_the_call(page: Page) -> None:
    choose(page, source="Tone")
    connect(page)
    level = "() => Number(document.querySelector('#level-sent').getAttribute('aria-valuenow'))"
    until(page, f"({level})() > -20")
    mute = page.get_by_role("button", name="Mute")
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "true")
    until(page, f"({level})() === -60")
    assert page.locator("#level-received").get_attribute("aria-valuenow") == "-60"
    mute.click()
    until(page, f"({level})() > -20")


def test_holding_keeps_the_picture_but_not_the_call(page: Page) -> None:
    connect(page)
    hold = page.get_by_role("button", name="Hold")
    hold.click()
    expect(hold).to_have_attribute("aria-pressed", "true")
    picture = "document.querySelector('#scope').toDataURL()"
    # The page draws the last picture with the next animation frame.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    before = page.evaluate(picture)
    wait_for_frames(
        page, int(page.evaluate("document.querySelector('#readouts').dataset.frames")) + 20
    )
    assert page.evaluate(picture) == before
    hold.click()
    until(page, f"before => {picture} !== before", before)


def test_the_jitter_buffer_goes_where_it_is_told(page: Page) -> None:
    connect(page)
    slider = page.get_by_role("slider", name="Jitter buffer")
    slider.fill("300")
    assert "300 ms" in page.locator("#buffer-target").inner_text()
    until(page, "parseFloat(document.querySelector('#depth').textContent) > 200")


def test_the_jitter_buffer_holds_two_frames_at_least(page: Page) -> None:
    slider, said = page.get_by_role("slider", name="Jitter buffer"), page.locator("#buffer-target")
    slider.press("Home")
    expect(said).to_have_text("40 ms")
    choose(page, frame="60")
    expect(said).to_have_text("120 ms")
    connect(page)
    until(page, "parseFloat(document.querySelector('#depth').textContent) > 60")
    choose(page, frame="10")
    expect(said).to_have_text("40 ms")  # as chosen, where that is enough


def test_each_time_the_jitter_buffer_runs_dry_is_counted(page: Page, served: Served) -> None:
    choose(page, source="Tone")
    connect(page, frames=25)
    count = "Number(document.querySelector('#dry').textContent)"
    before = page.evaluate(count)  # a busy machine may have let it run dry already
    served.process.send_signal(signal.SIGSTOP)
    try:
        dry = until(page, f"before => {count} > before && {count}", before)
        fills(page, "depth-plot", "bad", pixels=2)
    finally:
        served.process.send_signal(signal.SIGCONT)
    # Frames that were on their way may have filled it once more.
    assert before < dry <= before + 2


# The service's tab, keyboard, labels, width


def test_the_service_tab_moves(page: Page) -> None:
    connect(page)
    page.get_by_role("tab", name="Service").click()
    expect(page.locator("#service-state")).to_have_text("Taking calls")
    until(page, "parseFloat(document.querySelector('#v-frames').textContent) > 10")
    expect(page.locator("#v-streams")).to_contain_text("of 1000")
    until(page, "/audioop .*s p50/.test(document.querySelector('#v-encode').textContent)")
    for canvas, colour in (("c-streams", "sent"), ("c-frames", "sent"), ("c-encode", "sent"),
                           ("c-turnaround", "sent"), ("c-lag", "good")):  # fmt: skip
        fills(page, canvas, colour, pixels=2)


def test_the_services_own_turnaround_is_beside_the_round_trip(page: Page, served: Served) -> None:
    connect(page)
    own = float(until(page, "parseFloat(document.querySelector('#own').textContent)"))
    told = served.metrics()
    name = "rt_audio_frame_turnaround_seconds"
    mean_ms = 1000 * told[f"{name}_sum"] / told[f"{name}_count"]
    assert mean_ms / 10 < own < mean_ms * 10  # of the last seconds, and of all
    expect(page.locator("#own")).to_contain_text("ms")
    about = page.get_by_role("button", name="Service's share")
    expect(about).to_have_accessible_description(re.compile("average over all its calls"))


def test_the_service_is_read_before_its_tab_is_shown(page: Page) -> None:
    expect(page.get_by_role("tabpanel", name="Service")).to_be_hidden()
    until(page, "document.querySelector('#v-streams').textContent.includes('of 1000')")
    expect(page.locator("#service-state")).to_have_attribute("data-title", "Taking calls")


def test_a_service_that_is_gone_goes_grey_and_leaves_a_hole(browser: Browser) -> None:
    with serving() as served, browsing(browser, address(served)) as (page, _):
        page.get_by_role("tab", name="Service").click()
        panel = page.get_by_role("tabpanel", name="Service")
        breaks(page, "c-streams", "sent", 1)
        expect(panel).to_have_attribute("data-gone", "false")
        served.process.kill()
        expect(page.locator("#service-state")).to_contain_text("No answer from /metrics")
        section = panel.locator("section").first
        expect(section).to_have_css("filter", "grayscale(1)")
        with serving(port=served.port):
            expect(page.locator("#service-state")).to_have_text("Taking calls")
            expect(section).to_have_css("filter", "none")
            breaks(page, "c-streams", "sent", 2)


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.get_by_role("tab", name="Call").focus()
    for key, name in (("ArrowRight", "Service"), ("ArrowRight", "Call"), ("End", "Service"),
                      ("Home", "Call")):  # fmt: skip
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Speech")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Tone")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Connect")).to_be_focused()
    page.keyboard.press("Enter")
    says(page, "Connected")
    wait_for_frames(page, 5)
    expect(page.get_by_role("button", name="Disconnect")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Muted")).to_have_attribute("aria-pressed", "true")


def test_an_arrow_key_past_the_microphone_does_not_open_it(page: Page) -> None:
    opened = "navigator.mediaDevices.getUserMedia"
    page.evaluate(f"""() => {{
      const open = {opened}.bind(navigator.mediaDevices);
      window.opened = 0;
      {opened} = (wanted) => {{ window.opened++; return open(wanted); }};
    }}""")
    connect(page)
    page.get_by_role("radio", name="Speech").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Microphone")).to_be_checked()
    expect(page.locator("#source-note")).to_be_visible()
    page.keyboard.press("Tab")  # away: the call keeps its source, and the form says so
    expect(page.get_by_role("radio", name="Speech")).to_be_checked()
    choose(page, frame="40")
    says(page, "Connected")
    assert page.evaluate("window.opened") == 0
    for confirm in ("Enter", "Space"):
        page.get_by_role("radio", name="Speech").check()
        page.get_by_role("radio", name="Speech").focus()
        says(page, "Connected")
        before = page.evaluate("window.opened")
        page.keyboard.press("ArrowRight")
        page.keyboard.press(confirm)
        until(page, "before => window.opened === before + 1", before)
        says(page, "Connected")


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("Gaps", "two frame times"),
        ("Lost", "got no reply"),
        ("Ran dry", "nothing left to play"),
    ],
)
def test_the_keyboard_and_the_pointer_open_what_a_figure_means(
    page: Page, term: str, words: str
) -> None:
    button = page.get_by_role("button", name=term, exact=True)
    expect(button).to_have_accessible_description(re.compile(words))
    explanation = page.get_by_role("tooltip").filter(has_text=words)
    expect(explanation).to_be_hidden()
    button.focus()
    expect(explanation).to_be_visible()
    page.keyboard.press("Escape")
    expect(explanation).to_be_hidden()
    button.blur()
    button.hover()
    expect(explanation).to_be_visible()
    explanation.hover()  # it stays while it is read
    expect(explanation).to_be_visible()
    page.get_by_role("heading", name="Waveforms").hover()
    expect(explanation).to_be_hidden()


def test_everything_has_a_name(page: Page) -> None:
    nameless = page.evaluate("""() => [...document.querySelectorAll(
        "button, input, select, canvas, summary, [role=tab], [role=tabpanel], [role=meter]")]
        .filter((each) => !(each.labels?.[0]?.innerText.trim() || each.textContent.trim()
            || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")))
        .map((each) => each.outerHTML)""")
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(
    browser: Browser, served: Served, theme: str
) -> None:
    with browsing(browser, address(served), color_scheme=theme) as (page, _):
        connect(page)
        page.evaluate("""for (const tone of ["good", "warn", "bad"]) {
          const figure = Object.assign(document.createElement("dd"), { textContent: tone });
          figure.dataset.tone = tone;
          document.querySelector("#readouts").append(figure);
        }""")
        assert faint(page) == []
        page.get_by_role("tab", name="Service").click()
        assert faint(page) == []


def test_a_phone_need_not_scroll_sideways(browser: Browser, served: Served) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    with browsing(browser, address(served), **phone) as (page, _):
        choose(page, source="File", rate="48000")
        for width in (390, 320):
            page.set_viewport_size({"width": width, "height": 844})
            for name in ("Call", "Service"):
                page.get_by_role("tab", name=name).click()
                assert page.evaluate("document.documentElement.scrollWidth") <= width


# Snippets


def snippet(page: Page, name: str) -> str:
    page.get_by_role("tab", name=name).click()
    return page.locator("pre:visible").inner_text()


def pasted(command: list[str], folder: Path) -> str:
    """Return what a command prints that runs in an empty folder, with rt-audio on its PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TOKEN": "sesame", "no_proxy": "*"}
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    ("guarded", "settings", "size", "reply"),
    [
        (False, {"encoding": "pcm16", "reply": "alaw", "codec": "numpy", "frame": "40"}, 640, 320),
        (True, {"encoding": "ulaw", "reply": "pcm16", "rate": "24000", "frame": "60"}, 1440, 2880),
    ],
    ids=["open", "guarded"],
)
def test_the_snippets_run_as_pasted(
    browser: Browser, tmp_path: Path, guarded: bool, settings: dict[str, str], size: int, reply: int
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sesame\n")
    came_back = f"{reply} bytes came back for {size}"
    service = serving(RT_AUDIO_TOKENS_FILE=str(tokens)) if guarded else serving()
    with service as served, browsing(browser, address(served)) as (page, _):
        choose(page, **settings)
        if guarded:
            page.get_by_label("Token").fill("sesame")
            page.on("dialog", lambda dialog: dialog.accept("sesame"))
        assert "sesame" not in page.locator("#view-call").inner_text()
        python = [sys.executable, "-c", snippet(page, "Python")]
        assert pasted(python, tmp_path) == came_back + "\n"
        pasted(["bash", "-ec", snippet(page, "rt-audio")], tmp_path)
        sample = 1 if settings["reply"] == "alaw" else 2
        assert (tmp_path / "back.wav").stat().st_size >= len(speech()) // 2 * sample
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        as_in_the_console = {"expression": snippet(page, "JavaScript"), "replMode": True}
        with page.expect_console_message(lambda message: message.text.startswith("closed with")):
            page.context.new_cdp_session(page).send("Runtime.evaluate", as_in_the_console)
        frames = round(1000 / int(settings["frame"]))
        assert told == [came_back] * frames + ["closed with 1000 "]
        if shutil.which("websocat"):
            bash = ["bash", "-c", snippet(page, "websocat")]
            assert int(pasted(bash, tmp_path)) == reply * frames


# Pictures for people


def test_screenshots(browser: Browser, served: Served) -> None:
    moving = {"viewport": {"width": 1440, "height": 960}, "reduced_motion": "no-preference"}
    with browsing(browser, address(served), **moving) as (page, _):
        connect(page, frames=150)
        screenshot(page, "desktop")
        page.emulate_media(color_scheme="dark")
        until(page, "matchMedia('(prefers-color-scheme: dark)').matches")
        wait_for_frames(page, 170)
        screenshot(page, "dark")
        page.get_by_role("tab", name="Service").click()
        until(page, "parseFloat(document.querySelector('#v-turnaround').textContent) > 0")
        screenshot(page, "service-dark")
        page.emulate_media(color_scheme="light")
        page.get_by_role("tab", name="Call").click()
        page.set_viewport_size({"width": 390, "height": 844})
        wait_for_frames(page, 220)
        screenshot(page, "phone")
        assert state(page) == "Connected"

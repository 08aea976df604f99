"""What the console computes, module by module, in the browser: G.711, rates, jitter, metrics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from service.codec.tables import ALAW, ULAW, Law
from tests.console.browsing import address, browsing, chromium, needs_chromium
from tests.peers.processes import serving

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with (
        serving() as served,
        chromium() as browser,
        browsing(browser, address(served)) as (page, _),
    ):
        yield page


def run(page: Page, module: str, body: str, argument: object = None) -> Any:
    """Return what an async function's body returns, which has a module of the console as `m`."""
    return page.evaluate(
        f"async (argument) => {{ const m = await import('/console/{module}'); {body} }}", argument
    )


@pytest.mark.parametrize("law", [ULAW, ALAW], ids=lambda law: str(law.name))
def test_g711_is_the_services_to_the_bit(page: Page, law: Law) -> None:
    codes = run(page, "audio/g711.js", """
        const pcm = Int16Array.from({length: 65536}, (_, at) => at);
        return [...m.encode(pcm, argument)];""", law.name)  # fmt: skip
    assert bytes(codes) == law.codes
    samples = run(page, "audio/g711.js", """
        return [...m.decode(Uint8Array.from({length: 256}, (_, at) => at).buffer, argument)];""",
        law.name)  # fmt: skip
    assert tuple(samples) == law.samples


@pytest.mark.parametrize(
    ("source", "target", "hertz"),
    [(48000, 8000, 1000), (44100, 16000, 3000), (8000, 48000, 1000), (48000, 24000, 5000)],
)
def test_a_tone_comes_through_another_rate_undistorted(
    page: Page, source: int, target: int, hertz: int
) -> None:
    out = np.array(run(page, "audio/resampler.js", """
        const [from, to, hertz] = argument;
        const resampler = new m.Resampler(from, to);
        const out = new Float32Array(to / 4);
        const block = new Float32Array(128);
        let filled = 0;
        for (let at = 0; filled < out.length; at += block.length) {
          block.forEach((_, i) => (block[i] = Math.sin((2 * Math.PI * hertz * (at + i)) / from)));
          resampler.write(block);
          filled = resampler.read(out, filled, out.length);
        }
        return [...out];""", [source, target, hertz]))[target // 20 :]  # fmt: skip
    turns = 2 * np.pi * hertz * np.arange(len(out)) / target
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, out, rcond=None)
    assert np.hypot(*fit) == pytest.approx(1, abs=0.01)
    assert 10 * np.log10(np.mean(out**2) / np.mean((out - basis @ fit) ** 2)) > 65


def test_what_the_lower_rate_cannot_carry_is_kept_out(page: Page) -> None:
    loudest = run(page, "audio/resampler.js", """
        const resampler = new m.Resampler(48000, 8000);
        const out = new Float32Array(1000);
        const tone = Float32Array.from({length: 4000}, (_, i) => Math.sin(Math.PI * i * 10 / 48));
        resampler.write(tone);
        const filled = resampler.read(out, 0, out.length);
        return Math.max(...out.subarray(100, filled).map(Math.abs));""")  # fmt: skip
    assert loudest < 1e-3


_JITTER = """
    const buffer = new m.JitterBuffer(8000, 48000, 60);
    const frame = new Int16Array(160).fill(8192);
    const out = new Float32Array(960);
    const loud = () => { buffer.pull(out); return Math.max(...out) > 0.2; };
    const steady = (frames) => { for (let i = 0; i < frames; i++) { buffer.push(frame); loud(); } };
"""


def test_the_jitter_buffer_waits_for_its_target_then_plays(page: Page) -> None:
    heard = run(page, "audio/jitter.js", _JITTER + """
        return [0, 1, 2, 3, 4].map(() => { buffer.push(frame); return loud(); });""")  # fmt: skip
    assert heard == [False, False, True, True, True]


def test_the_jitter_buffer_that_ran_dry_fills_again(page: Page) -> None:
    told = run(page, "audio/jitter.js", _JITTER + """
        steady(10);
        for (let i = 0; i < 5; i++) loud();
        const dry = [buffer.playing, buffer.underruns];
        buffer.push(frame);
        const early = loud();
        steady(5);
        return [...dry, early, buffer.playing, buffer.underruns];""")  # fmt: skip
    assert told == [False, 1, False, True, 1]


def test_the_jitter_buffer_cuts_back_a_burst_and_drifts_to_its_target(page: Page) -> None:
    after_burst, target_down, after_drift = run(page, "audio/jitter.js", _JITTER + """
        steady(10);
        for (let i = 0; i < 20; i++) buffer.push(frame);
        steady(2);
        const burst = buffer.depthMs;
        buffer.retarget(20);
        steady(2);
        const down = buffer.depthMs;
        buffer.retarget(60);
        for (let i = 0; i < 5; i++) buffer.push(frame);
        steady(3000);
        return [burst, down, buffer.average / 8];""")  # fmt: skip
    assert after_burst <= 80
    assert target_down <= 40
    assert after_drift == pytest.approx(60, abs=3)


def test_waits_grow_with_full_jitter_until_the_patience_is_over(page: Page) -> None:
    bounds, asked, afresh, late = run(page, "call/backoff.js", """
        let now = 0;
        const backoff = new m.Backoff(() => now, () => 1);
        const bounds = [1, 2, 3, 4, 5, 6, 7].map(() => backoff.afterFailure(0, 0));
        const asked = new m.Backoff(() => now, () => 0.5).afterFailure(2, 0);
        now = 29;
        const afresh = backoff.afterFailure(0, 1);
        now = 58.9;
        return [bounds, asked, afresh, backoff.afterFailure(0, 1)];""")  # fmt: skip
    assert bounds == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])
    assert (asked, afresh) == pytest.approx((2.1, 0.2))
    assert late is None  # 0.4 s more would be beyond 30 s without a reply


def test_the_spectrum_of_a_full_scale_sine_is_0_db(page: Page) -> None:
    power = np.array(run(page, "draw/spectrum.js", """
        const power = new Float32Array(512);
        const sine = Float32Array.from({length: 1024}, (_, i) => Math.sin(i * Math.PI / 8));
        new m.Fft(1024).power(sine, power);
        return [...power];"""))  # fmt: skip
    assert int(np.argmax(power)) == 64
    assert 10 * np.log10(power[64]) == pytest.approx(0, abs=0.01)
    assert 10 * np.log10(power[80:].max()) < -90


_PAGE = """# HELP x Something.
# TYPE x histogram
x_bucket{codec="numpy",le="0.1"} %d
x_bucket{codec="numpy",le="0.2"} %d
x_bucket{codec="numpy",le="+Inf"} %d
x_bucket{codec="audioop",le="0.1"} 7
y_total{dialect="raw",reason="a b"} 1
y_total{dialect="twilio",reason="a b"} 1
y_total{dialect="raw",reason="c"} 3
"""


def test_metrics_are_read_as_prometheus_reads_them(page: Page) -> None:
    before, after = _PAGE % (0, 0, 0), _PAGE % (50, 100, 100)
    told = run(page, "prometheus.js", """
        const [before, after] = argument.map(m.parse);
        const at = (share) => m.quantile(before, after, "x", 'codec="numpy"', share);
        return [at(0.25), at(0.5), at(0.75), at(1), m.quantile(before, before, "x", "", 0.5),
                m.total(after, "y_total"), [...m.byLabel(after, "y_total", "reason")]];
    """, [before, after])  # fmt: skip
    assert told[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert np.isnan(told[4])
    assert told[5:] == [5, [["a b", 2], ["c", 3]]]


_VOICE = """
    const voice = new m.Voice(8000, 48000, 60);
    const frame = new Int16Array(160).fill(8192);
    const out = new Float32Array(960); // 20 ms
    const loud = () => { voice.pull(out); return Math.max(...out) > 0.02; };
    const reached = [];
    const play = (count) => {
      for (let i = 0; i < count; i++) { loud(); reached.push(...voice.reached()); }
    };
"""


def test_a_voice_shorter_than_the_buffer_is_heard_and_its_mark_reached(page: Page) -> None:
    heard, early, late, underruns = run(page, "audio/voice.js", _VOICE + """
        voice.push(frame);
        voice.marks.add("end");
        const heard = [0, 1, 2, 3, 4].map(loud);
        const early = voice.reached();
        voice.marks.add("after");
        voice.push(frame);
        play(10);
        return [heard, early, reached, voice.underruns];""")  # fmt: skip
    assert heard == [False, False, True, False, False]
    assert (early, late) == (["end"], ["after"])
    assert underruns == 0, "a mark ended the sentence"


def test_a_burst_of_a_voice_is_heard_in_full(page: Page) -> None:
    played, depth = run(page, "audio/voice.js", _VOICE + """
        for (let i = 0; i < 400; i++) voice.push(frame);
        play(100);
        return [voice.played, voice.depthMs];""")  # fmt: skip
    assert played == pytest.approx(2 * 8000, rel=0.02)
    assert depth == pytest.approx(6000, rel=0.02)


def test_a_voice_is_cut_off_at_once_and_says_how_much_was_heard(page: Page) -> None:
    heard, loud, reached, again = run(page, "audio/voice.js", _VOICE + """
        for (let i = 0; i < 50; i++) voice.push(frame);
        voice.marks.add("never");
        play(10);
        const heard = voice.clear();
        loud();
        const after = loud();
        play(60);
        const none = [...reached];
        for (let i = 0; i < 10; i++) voice.push(frame);
        play(20);
        return [heard, after, none, voice.clear()];""")  # fmt: skip
    assert heard == pytest.approx(200, abs=5)
    assert not loud
    assert reached == []
    assert again == pytest.approx(400, abs=5)


def test_a_short_gap_in_a_voice_is_an_underrun_and_a_long_one_its_end(page: Page) -> None:
    counts = run(page, "audio/voice.js", _VOICE + """
        const counts = [];
        for (const pause of [10, 40]) {
          for (let i = 0; i < 5; i++) voice.push(frame);
          play(5 + pause);
          voice.push(frame);
          counts.push(voice.underruns);
          play(60);
        }
        return counts;""")  # fmt: skip
    assert counts == [1, 1]


def test_what_is_pulled_is_played_and_the_rest_can_be_dropped(page: Page) -> None:
    told = run(
        page,
        "audio/playing.js",
        """
        const playing = new m.Playing(8000);
        playing.push(Int16Array.of(1, 2, 3));
        playing.marks.add("three");
        playing.push(Int16Array.of(4, 5));
        const first = [[...playing.pull(2)], playing.reached()];
        const second = [[...playing.pull(2)], playing.reached()];
        playing.marks.add("never");
        const heard = playing.clear();
        return [...first, ...second, heard, [...playing.pull(2)], playing.reached()];""",
    )
    assert told == [[1, 2], [], [3, 4], ["three"], 0.5, [0, 0], []]

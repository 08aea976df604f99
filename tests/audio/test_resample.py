"""The resampler: its promises of shape, and its quality against tones that we can calculate."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.audio.rates import RATES
from service.audio.resample import Resampler

Signal = NDArray[np.float64]

PAIRS = tuple(permutations(RATES, 2))
every_pair = pytest.mark.parametrize(("source", "target"), PAIRS)
#: Each kind of ratio: up, down, the hop from 24 kHz, and long periods both ways.
KINDS = ((8000, 16000), (16000, 8000), (24000, 8000), (8000, 48000), (16000, 24000),
         (44100, 8000), (8000, 11025), (11025, 32000), (32000, 11025))  # fmt: skip
every_kind = pytest.mark.parametrize(("source", "target"), KINDS)

AMPLITUDE = 30000.0
NOISE = np.random.default_rng(711).integers(-32768, 32768, 5000).astype("<i2").tobytes()


def pcm(signal: Signal) -> bytes:
    return np.rint(signal).astype("<i2").tobytes()


def signal(pcm: bytes) -> Signal:
    return np.frombuffer(pcm, "<i2").astype(float)


def tone(frequency: float, rate: int, seconds: float = 0.2, late: float = 0.0) -> Signal:
    times = np.arange(round(seconds * rate)) / rate - late
    return AMPLITUDE * np.sin(2 * np.pi * frequency * times)


def settled(resampler: Resampler, sound: Signal) -> Signal:
    """Return the output without its first quarter, in which the filter still fills."""
    back = signal(resampler.convert(pcm(sound)))
    return back[len(back) // 4 :]


def decibels(ratio: float) -> float:
    return float(20 * np.log10(max(ratio, 1e-12)))


def fitted(back: Signal, frequency: float, rate: int) -> tuple[float, float]:
    """Return the amplitude of the tone in a signal, and the peak of all that is not the tone."""
    angles = 2 * np.pi * frequency * np.arange(len(back)) / rate
    basis = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    parts = np.linalg.lstsq(basis, back)[0]
    return float(np.hypot(*parts)), float(np.abs(back - basis @ parts).max())


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the data in frames of so many samples, and the rest as the last frame."""
    borders = [0, *(2 * int(size) for size in np.cumsum(sizes)), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


@every_kind
@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 400), max_size=12))
def test_the_samples_are_the_same_however_the_stream_is_cut(
    source: int, target: int, sizes: list[int]
) -> None:
    whole, parts = Resampler(source, target), Resampler(source, target)
    expected = whole.convert(NOISE) + whole.flush()
    assert b"".join(map(parts.convert, cut(NOISE, sizes))) + parts.flush() == expected


@every_pair
def test_sample_by_sample_is_the_same_as_at_once(source: int, target: int) -> None:
    noise = NOISE[:800]
    whole, parts = Resampler(source, target), Resampler(source, target)
    assert b"".join(map(parts.convert, cut(noise, [1] * 400))) == whole.convert(noise)


@every_kind
@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=12))
def test_n_samples_give_n_times_the_ratio_in_every_call(
    source: int, target: int, sizes: list[int]
) -> None:
    resampler, total, given_back = Resampler(source, target), 0, 0
    for size in sizes:
        total += size
        given_back += len(resampler.convert(bytes(2 * size))) // 2
        assert given_back == -(-total * target // source)  # rounded up


@every_kind
def test_audio_of_a_minute_in_one_call(source: int, target: int) -> None:
    """Longer than what is converted at once."""
    sound = NOISE * 12
    resampler = Resampler(source, target)
    expected = b"".join(map(resampler.convert, cut(sound, [700] * 85)))
    assert Resampler(source, target).convert(sound) == expected


@pytest.mark.parametrize(
    ("source", "target", "milliseconds"),
    [(8000, 16000, 4), (16000, 8000, 4), (24000, 8000, 4), (24000, 16000, 2), (11025, 8000, 4)],
)
def test_the_latency_is_a_number(source: int, target: int, milliseconds: float) -> None:
    assert Resampler(source, target).latency == pytest.approx(milliseconds / 1000)


@every_pair
def test_a_tone_keeps_its_level_and_is_late_by_the_latency_alone(source: int, target: int) -> None:
    """Up to 0.8 of the narrower band; what is not the tone, images above all, is below -80 dB."""
    band = min(source, target) / 2
    for share in (0.05, 0.31, 0.6, 0.8):
        resampler, frequency = Resampler(source, target), share * band
        back = settled(resampler, tone(frequency, source))
        amplitude, rest = fitted(back, frequency, target)
        assert abs(decibels(amplitude / AMPLITUDE)) < 0.1, share
        assert decibels(rest / AMPLITUDE) < -80, share
        expected = tone(frequency, target, late=resampler.latency)[-len(back) :]
        assert np.abs(back - expected).max() < 0.012 * AMPLITUDE, share  # 0.1 dB


def test_the_error_is_that_of_two_roundings() -> None:
    """To 16 bits, before and after; each has a power of 1/12."""
    back = settled(Resampler(24000, 8000), tone(1234, 24000))
    expected = tone(1234, 8000, late=0.004)[-len(back) :]
    assert np.mean((back - expected) ** 2) < 2 / 12


def test_a_tone_of_6_khz_is_gone_at_8_khz() -> None:
    back = settled(Resampler(24000, 8000), tone(6000, 24000))
    assert decibels(float(np.abs(back).max()) / AMPLITUDE) < -80


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_carry_is_gone(source: int, target: int) -> None:
    band, most = target / 2, source / 2
    for share in (0.0, 0.02, 0.05, 0.5, 0.95):
        back = settled(Resampler(source, target), tone(band + share * (most - band), source))
        assert decibels(float(np.abs(back).max()) / AMPLITUDE) < -80, share


def test_the_band_edge_has_no_image_either() -> None:
    """The image of 3900 Hz at 8 kHz is 4100 Hz, the closest that counts."""
    back = settled(Resampler(8000, 16000), tone(3900, 8000))
    image, _ = fitted(back, 4100, 16000)
    assert decibels(image / AMPLITUDE) < -80


@every_pair
def test_a_constant_stays_the_same_to_the_bit(source: int, target: int) -> None:
    back = settled(Resampler(source, target), np.full(source // 10, 32000.0))
    assert set(back) == {32000.0}


@every_kind
def test_full_scale_is_clipped_and_never_wraps(source: int, target: int) -> None:
    """A square wave overshoots at its edges."""
    half = source // 100
    square = np.tile(np.repeat([32767.0, -32768.0], half), 8)
    resampler = Resampler(source, target)
    back = settled(resampler, square)
    assert (back.max(), back.min()) == (32767, -32768)
    edges = np.count_nonzero(np.diff(back >= 0))
    assert edges == pytest.approx(100 * len(back) / target, abs=1), "no sign changes but its own"


def test_the_first_samples_are_the_onset_and_flush_gives_the_tail() -> None:
    resampler = Resampler(8000, 16000)
    click = np.zeros(160)
    click[[0, -1]] = AMPLITUDE
    back = signal(resampler.convert(pcm(click)))
    tail = signal(resampler.flush())
    late = round(resampler.latency * 16000)
    assert (len(back), len(tail)) == (320, late)
    assert np.abs(back[: late // 2]).max() < AMPLITUDE / 20
    assert np.argmax(back) == late, "where the first sample is"
    assert np.argmax(tail) == late - 2, "where the last sample is"


def test_flush_and_reset_begin_a_new_stream() -> None:
    resampler = Resampler(44100, 16000)
    first = resampler.convert(NOISE)
    assert resampler.flush()
    assert resampler.flush() == b"", "nothing came since"
    assert resampler.convert(NOISE) == first
    resampler.reset()
    assert resampler.convert(NOISE) == first


def test_nothing_in_is_nothing_out() -> None:
    assert Resampler(8000, 16000).convert(b"") == b""


def test_half_a_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="two bytes a sample, not 3 in all"):
        Resampler(8000, 16000).convert(b"abc")


@pytest.mark.parametrize(("source", "target"), [(8000, 8000), (8000, 9600), (96000, 8000)])
def test_other_rates_are_an_error(source: int, target: int) -> None:
    with pytest.raises(ValueError, match=f"cannot resample {source} to {target} Hz"):
        Resampler(source, target)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_will_do(kind: type) -> None:
    assert Resampler(8000, 16000).convert(kind(NOISE)) == Resampler(8000, 16000).convert(NOISE)

"""One interface over every tier: the same arguments, errors and samples."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import LAWS, ORDER, Codec, available, tier

every_law = pytest.mark.parametrize("law", LAWS)
both_directions = pytest.mark.parametrize("direction", ["encode", "decode"])

pcm16 = st.binary(max_size=700).map(lambda data: data[: len(data) // 2 * 2])


@pytest.fixture(params=[(name, law) for name in ORDER for law in LAWS], ids="-".join)
def codec(request: pytest.FixtureRequest) -> Codec:
    """Return every codec there is, one after another."""
    return tier(*request.param)


def mulaw_rank(code: int) -> int:
    """Return where a mu-law code's interval stands, counted from positive silence."""
    return 255 - code if code & 0x80 else code - 128


def test_every_tier_is_available_where_the_project_is_installed() -> None:
    assert available() == ORDER


@pytest.mark.parametrize("name", ORDER)
@every_law
def test_a_codec_knows_its_tier_and_law(name: str, law: str) -> None:
    codec = tier(name, law)
    assert (codec.name, codec.law) == (name, law)


@pytest.mark.parametrize("wanted", [("opus", "ulaw"), ("numpy", "mulaw")])
def test_there_is_no_codec_of_another_tier_or_law(wanted: tuple[str, str]) -> None:
    with pytest.raises(KeyError):
        tier(*wanted)


#: Arguments that are the same bytes.
ALIKE: tuple[Callable[[bytes], Any], ...] = (
    bytearray,
    memoryview,
    lambda data: memoryview(data).cast("h"),
    lambda data: memoryview(data[::-1])[::-1],
)


@both_directions
def test_any_bytes_like_argument_is_its_bytes(codec: Codec, direction: str) -> None:
    convert, data = getattr(codec, direction), bytes(range(64))
    for kind in ALIKE:
        converted = convert(kind(data))
        assert type(converted) is bytes
        assert converted == convert(data)


@both_directions
def test_anything_but_bytes_is_a_type_error(codec: Codec, direction: str) -> None:
    for wrong in ("audio", None, 2, [0, 1]):
        with pytest.raises(TypeError, match=f"not {type(wrong).__name__}$"):
            getattr(codec, direction)(wrong)


def test_half_a_sample_is_a_value_error(codec: Codec) -> None:
    for kind in (bytes, bytearray, memoryview):
        with pytest.raises(ValueError, match="two bytes a sample, so 3 bytes"):
            codec.encode(kind(b"abc"))


@both_directions
def test_nothing_in_is_nothing_out(codec: Codec, direction: str) -> None:
    for nothing in (b"", bytearray(), memoryview(b"")):
        assert getattr(codec, direction)(nothing) == b""


def test_long_audio_is_the_sum_of_its_frames_and_samples(codec: Codec) -> None:
    """However a tier cuts its work: one sample, one frame and many seconds give the same codes."""
    pcm = random.Random(711).randbytes(2 * 140_001)
    codes = codec.encode(pcm)
    assert codes == b"".join(codec.encode(pcm[i : i + 320]) for i in range(0, len(pcm), 320))
    assert codes[:5000] == b"".join(codec.encode(pcm[i : i + 2]) for i in range(0, 10_000, 2))
    frames = [codes[i : i + 160] for i in range(0, len(codes), 160)]
    assert codec.decode(codes) == b"".join(codec.decode(frame) for frame in frames)


@every_law
@given(g711=st.binary(max_size=700))
def test_every_tier_decodes_the_same_samples(law: str, g711: bytes) -> None:
    assert len({tier(name, law).decode(g711) for name in ORDER}) == 1


@every_law
@given(pcm=pcm16)
def test_every_tier_encodes_the_same_codes_but_for_audioops_mulaw(law: str, pcm: bytes) -> None:
    alike = ORDER if law == "alaw" else ("numpy", "pure_python")
    assert len({tier(name, law).encode(pcm) for name in alike}) == 1


@given(pcm=pcm16)
def test_audioops_mulaw_is_never_more_than_one_step_away(pcm: bytes) -> None:
    theirs, ours = tier("audioop", "ulaw").encode(pcm), tier("numpy", "ulaw").encode(pcm)
    pairs = zip(theirs, ours, strict=True)
    assert all(abs(mulaw_rank(a) - mulaw_rank(b)) <= 1 for a, b in pairs)

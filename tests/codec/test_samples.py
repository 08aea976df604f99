"""The sample-level helpers: a tutorial's names over the same law."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import (
    alaw_to_pcm16,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
    tier,
)

Compress = Callable[[Any], bytes]
Expand = Callable[[Any], list[int]]

compressors = pytest.mark.parametrize("compress", [pcm16_to_mulaw, pcm16_to_alaw])
expanders = pytest.mark.parametrize("expand", [mulaw_to_pcm16, alaw_to_pcm16])
ALL_CODES = bytes(range(256))


@pytest.mark.parametrize(("compress", "law"), [(pcm16_to_mulaw, "ulaw"), (pcm16_to_alaw, "alaw")])
@given(samples=st.lists(st.integers(-32768, 32767)))
def test_samples_compress_as_a_codec_encodes_them(
    compress: Compress, law: str, samples: list[int]
) -> None:
    pcm = struct.pack(f"<{len(samples)}h", *samples)
    assert compress(samples) == tier("pure_python", law).encode(pcm)


@pytest.mark.parametrize(("expand", "law"), [(mulaw_to_pcm16, "ulaw"), (alaw_to_pcm16, "alaw")])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_codes_expand_as_a_codec_decodes_them(
    expand: Expand, law: str, kind: Callable[[bytes], Any]
) -> None:
    pcm = tier("pure_python", law).decode(ALL_CODES)
    assert expand(kind(ALL_CODES)) == list(struct.unpack("<256h", pcm))


@compressors
def test_samples_beyond_16_bits_are_clipped(compress: Compress) -> None:
    assert compress([32768, 10**9, -32769, -(10**9)]) == compress([32767] * 2 + [-32768] * 2)


@compressors
def test_any_iterable_of_integers_will_do(compress: Compress) -> None:
    assert compress(iter(range(3))) == compress((0, 1, 2)) == compress([False, True, 2])


@compressors
@pytest.mark.parametrize("wrong", [None, "12", b"12", bytearray(2), memoryview(b"12"), 12])
def test_only_an_iterable_of_integers_compresses(compress: Compress, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(wrong).__name__}"):
        compress(wrong)


@compressors
@pytest.mark.parametrize("wrong", [1.0, "1", None])
def test_a_sample_that_is_no_integer_is_a_type_error(compress: Compress, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(wrong).__name__}"):
        compress([0, wrong])


@expanders
@pytest.mark.parametrize("wrong", [None, "12", [1, 2], memoryview(b"12"), 12])
def test_only_bytes_and_bytearrays_expand(expand: Expand, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(wrong).__name__}$"):
        expand(wrong)


@compressors
@expanders
def test_nothing_in_is_nothing_out(compress: Compress, expand: Expand) -> None:
    assert (compress([]), expand(b"")) == (b"", [])

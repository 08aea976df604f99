"""G.711 to the bit: what every tier makes of all samples and of all codes."""

import hashlib
import struct

import pytest

from service.codec import LAWS, ORDER, tier

SAMPLES = range(-32768, 32768)
ALL_PCM = struct.pack("<65536h", *SAMPLES)
ALL_CODES = bytes(range(256))

# SHA-256 of what ITU-T G.191's reference tool makes of ALL_PCM and of ALL_CODES.
ENCODED = {
    "ulaw": "90c29de505fb68e766118303bd552a16005dcf810873698bee1d8f3b247ce28c",
    "alaw": "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b",
}
DECODED = {
    "ulaw": "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827",
    "alaw": "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174",
}
# The one direction in which one tier is not G.191's.
AUDIOOP_MULAW = ("audioop", "ulaw")
CODECS = [(name, law) for name in ORDER for law in LAWS]


@pytest.mark.parametrize(("name", "law"), [c for c in CODECS if c != AUDIOOP_MULAW])
def test_all_samples_encode_as_in_g191(name: str, law: str) -> None:
    assert hashlib.sha256(tier(name, law).encode(ALL_PCM)).hexdigest() == ENCODED[law]


@pytest.mark.parametrize(("name", "law"), CODECS)
def test_all_codes_decode_as_in_g191(name: str, law: str) -> None:
    assert hashlib.sha256(tier(name, law).decode(ALL_CODES)).hexdigest() == DECODED[law]


def test_audioop_encodes_508_negative_samples_to_the_next_louder_mulaw_code() -> None:
    """They are the four loudest of each negative interval but the last, whose code is 0."""
    ours = dict(zip(SAMPLES, tier("pure_python", "ulaw").encode(ALL_PCM), strict=True))
    theirs = dict(zip(SAMPLES, tier(*AUDIOOP_MULAW).encode(ALL_PCM), strict=True))
    intervals: dict[int, list[int]] = {code: [] for code in ALL_CODES}
    for sample, code in ours.items():
        intervals[code].append(sample)
    expected = {s: code - 1 for code in range(1, 128) for s in intervals[code][:4]}
    assert len(expected) == 508
    assert {s: code for s, code in theirs.items() if code != ours[s]} == expected


@pytest.mark.parametrize(("name", "law"), CODECS)
def test_a_code_survives_decoding_and_encoding_but_for_mulaws_negative_zero(
    name: str, law: str
) -> None:
    """mu-law has two codes for the sample 0; only the positive one, 0xFF, is ever encoded."""
    codec = tier(name, law)
    again = ALL_CODES.replace(b"\x7f", b"\xff") if law == "ulaw" else ALL_CODES
    assert codec.encode(codec.decode(ALL_CODES)) == again

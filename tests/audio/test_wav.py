"""WAV files: read, written as players expect, and refused with the reason."""

import struct
import wave
from pathlib import Path

import pytest

from service import codec
from service.audio import wav
from service.audio.wav import Audio, WavError

SPEECH = Path(__file__).parent.parent / "data" / "speech.wav"
SECOND = Audio(b"".join(struct.pack("<h", 4 * n) for n in range(8000)), 8000)


def test_the_sample_is_read() -> None:
    audio = wav.read(SPEECH)
    assert audio.sample_rate == 8000
    assert len(audio.pcm) == SPEECH.stat().st_size - 44
    assert audio.seconds == pytest.approx(16.44, abs=0.01)


def test_frames_cover_the_audio_and_the_last_may_be_short() -> None:
    frames = Audio(bytes(range(10)), 8000).frames(2)
    assert frames == [b"\0\1\2\3", b"\4\5\6\7", b"\x08\x09"]


def test_pcm16_goes_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "back.wav"
    wav.write(path, SECOND.pcm, "pcm16", 16000)
    assert wav.read(path) == Audio(SECOND.pcm, 16000)


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a RIFF file, each of which must be whole and padded."""
    riff, size, form = struct.unpack_from("<4sI4s", data)
    assert (riff, form, size) == (b"RIFF", b"WAVE", len(data) - 8)
    found, at = {}, 12
    while at < len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        found[name] = data[at + 8 : at + 8 + length]
        assert len(found[name]) == length
        at += 8 + length + length % 2
    assert at == len(data)
    return found


@pytest.mark.parametrize(("law", "tag"), [("alaw", 6), ("ulaw", 7)])
@pytest.mark.parametrize("samples", [8000, 7999, 0])
def test_g711_is_written_as_players_expect(
    tmp_path: Path, law: str, tag: int, samples: int
) -> None:
    path = tmp_path / "back.wav"
    g711 = codec.choose(law=law).encode(SECOND.pcm[: 2 * samples])
    wav.write(path, g711, law, 8000)
    found = chunks(path.read_bytes())
    assert list(found) == [b"fmt ", b"fact", b"data"]
    assert struct.unpack("<HHIIHHH", found[b"fmt "]) == (tag, 1, 8000, 8000, 1, 8, 0)
    assert struct.unpack("<I", found[b"fact"]) == (samples,)
    decode = codec.tier("pure_python", law).decode
    assert decode(found[b"data"]) == decode(g711)


def odd_wav(
    path: Path, channels: int = 1, width: int = 2, rate: int = 8000, data: bytes = b"ab"
) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


@pytest.mark.parametrize(
    ("channels", "width", "words"),
    [(2, 2, "2 channels of 16 bits"), (1, 1, "1 channel of 8 bits"), (1, 3, "of 24 bits")],
)
def test_another_kind_of_wav_is_named(
    tmp_path: Path, channels: int, width: int, words: str
) -> None:
    path = odd_wav(tmp_path / "odd.wav", channels, width, data=bytes(channels * width))
    with pytest.raises(WavError, match=f"odd.wav is not a 16-bit mono PCM WAV: it has .*{words}"):
        wav.read(path)


@pytest.mark.parametrize(
    ("tag", "words"),
    [(3, "floating point"), (6, "A-law"), (7, "mu-law"), (2, r"something else in it \(format 2\)")],
)
def test_another_format_is_named(tmp_path: Path, tag: int, words: str) -> None:
    path = odd_wav(tmp_path / "odd.wav")
    data = bytearray(path.read_bytes())
    data[20:22] = struct.pack("<H", tag)
    path.write_bytes(data)
    with pytest.raises(WavError, match=words):
        wav.read(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no complete WAV"),
        (b"root:x:0:0", "no complete WAV"),
        (SPEECH.read_bytes()[:30], "no complete WAV"),
        (SPEECH.read_bytes()[:36] + b"junk\xff\xff\xff\x7f", "no complete WAV"),
        (b"RIFF\x10\0\0\0WAVEjunk\xff\0\0\0", "no complete WAV"),
        (SPEECH.read_bytes()[:44], "has no audio in it"),
        (SPEECH.read_bytes()[:45], "has no audio in it"),
        (SPEECH.read_bytes()[:24] + bytes(4) + SPEECH.read_bytes()[28:], "a sample rate of 0"),
    ],
)
def test_a_broken_file_says_so(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(data)
    with pytest.raises(WavError, match=words):
        wav.read(path)


def test_a_file_cut_off_in_the_middle_of_a_sample_loses_that_sample(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(SPEECH.read_bytes()[:1001])
    assert wav.read(path).pcm == SPEECH.read_bytes()[44:1000]


def test_a_stream_recorded_without_knowing_its_length(tmp_path: Path) -> None:
    """As programs write to a pipe: the sizes in the header are the largest there are."""
    path, data = tmp_path / "piped.wav", bytearray(SPEECH.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0x7FFFF000)
    path.write_bytes(data)
    assert wav.read(path) == wav.read(SPEECH)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(WavError, match=r"none\.wav cannot be read: No such file or directory$"):
        wav.read(tmp_path / "none.wav")
    with pytest.raises(WavError, match=r"cannot be read: Is a directory$"):
        wav.read(tmp_path)
    with pytest.raises(WavError, match=r"cannot be written: No such file or directory$"):
        wav.write(tmp_path / "none" / "back.wav", b"", "ulaw", 8000)

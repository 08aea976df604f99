"""WAV files: read, written as players expect, and refused with the reason."""

import os
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import codec
from service.audio import wav
from service.audio.encodings import BYTES_PER_SAMPLE
from service.audio.wav import Audio, WavError

SPEECH = Path(__file__).parent.parent / "data" / "speech.wav"
SECOND = Audio(b"".join(struct.pack("<h", 4 * n) for n in range(8000)), 8000)
#: The GUID of a WAVE_FORMAT_EXTENSIBLE after its first two bytes, which are the format's tag.
GUID_REST = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    length = len(data) if size is None else size
    return name + struct.pack("<I", length) + data + b"\0" * (len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def form(tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits))


def extensible(tag: int, channels: int = 1, bits: int = 16, rest: bytes = GUID_REST) -> bytes:
    plain = form(0xFFFE, channels, bits=bits)[8:]
    return chunk(b"fmt ", plain + struct.pack("<HHIH", 22, bits, 4, tag) + rest)


DATA = chunk(b"data", b"abcd")


# Read


def test_the_sample_is_read() -> None:
    audio = wav.read(SPEECH)
    assert (audio.sample_rate, audio.encoding) == (8000, "pcm16")
    assert len(audio.data) == SPEECH.stat().st_size - 44
    assert audio.seconds == pytest.approx(16.44, abs=0.01)


@pytest.mark.parametrize(
    ("encoding", "frames", "seconds"),
    [("pcm16", [b"\0\1\2\3", b"\4\5\6\7", b"\x08\x09"], 5 / 8000),
     ("ulaw", [b"\0\1", b"\2\3", b"\4\5", b"\6\7", b"\x08\x09"], 10 / 8000)],
)  # fmt: skip
def test_frames_cover_the_audio_and_the_last_may_be_short(
    encoding: str, frames: list[bytes], seconds: float
) -> None:
    audio = Audio(bytes(range(10)), 8000, encoding)
    assert audio.frames(2) == frames
    assert audio.seconds == seconds


@pytest.mark.parametrize(
    ("file", "encoding"),
    [
        pytest.param(riff(form(), DATA), "pcm16", id="pcm16"),
        pytest.param(riff(form(6, bits=8), DATA), "alaw", id="alaw"),
        pytest.param(riff(form(7, bits=8), DATA), "ulaw", id="ulaw"),
        pytest.param(riff(extensible(1), DATA), "pcm16", id="extensible pcm16"),
        pytest.param(riff(extensible(6, bits=8), DATA), "alaw", id="extensible alaw"),
        pytest.param(riff(extensible(7, bits=8), DATA), "ulaw", id="extensible ulaw"),
        pytest.param(
            riff(chunk(b"LIST", b"odd"), form(), chunk(b"fact", b"1234"), DATA, DATA),
            "pcm16", id="among other chunks",
        ),
        pytest.param(b"RIFF\0\0\0\0" + riff(form(), DATA)[8:], "pcm16", id="RIFF of length 0"),
        pytest.param(
            riff(form(), chunk(b"data", b"abcd", 2**32 - 1)), "pcm16", id="data beyond the end"
        ),
        pytest.param(riff(form(), chunk(b"data", b"abcde")), "pcm16", id="half a sample too much"),
        pytest.param(riff(form(), chunk(b"data", b"abcde"))[:-2], "pcm16", id="cut off"),
    ],
)  # fmt: skip
def test_files_that_are_read(file: bytes, encoding: str) -> None:
    assert wav.parse(file) == Audio(b"abcd", 8000, encoding)


def test_a_stream_recorded_without_knowing_its_length(tmp_path: Path) -> None:
    """As programs write to a pipe: the sizes in the header are the largest there are."""
    path, data = tmp_path / "piped.wav", bytearray(SPEECH.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0x7FFFF000)
    path.write_bytes(data)
    assert wav.read(path) == wav.read(SPEECH)


# Refused


@pytest.mark.parametrize(
    ("file", "why"),
    [
        pytest.param(b"", "it is no WAV file", id="empty"),
        pytest.param(b"root:x:0:0 and some more", "it is no WAV file", id="text"),
        pytest.param(b"RF64" + riff(form(), DATA)[4:], "it is no WAV file", id="RF64"),
        pytest.param(riff(), "it has no format chunk where one is due", id="no chunk"),
        pytest.param(riff(DATA), "it has no format chunk where one is due", id="no format"),
        pytest.param(riff(form()), "it has no audio chunk where one is due", id="no data"),
        pytest.param(
            riff(form(), chunk(b"junk", b"", 0x7FFFFFFF), DATA),
            "it has no audio chunk where one is due", id="a chunk beyond the end",
        ),
        pytest.param(riff(chunk(b"fmt ", b"\1\0")), "its format chunk is too short", id="fmt"),
        pytest.param(riff(form())[:30], "its format chunk is too short", id="fmt cut off"),
        pytest.param(riff(form(), chunk(b"data", b"")), "it has no audio in it", id="silence"),
        pytest.param(riff(form(), chunk(b"data", b"a")), "it has no audio in it", id="a byte"),
        pytest.param(riff(form(rate=0), DATA), "its sample rate is 0", id="rate"),
        pytest.param(riff(form(channels=2), DATA), "it has 2 channels of 16 bits", id="stereo"),
        pytest.param(riff(form(channels=0), DATA), "it has 0 channels of 16 bits", id="none"),
        pytest.param(riff(form(bits=8), DATA), "it has 1 channel of 8 bits", id="8 bits"),
        pytest.param(riff(form(bits=24), DATA), "it has 1 channel of 24 bits", id="24 bits"),
        pytest.param(riff(form(7, bits=16), DATA), "it has 1 channel of 16 bits", id="G.711"),
        pytest.param(
            riff(form(3, bits=32), DATA), "it has floating point in it (format 3)", id="float"
        ),
        pytest.param(
            riff(extensible(3, bits=32), DATA), "it has floating point in it (format 3)",
            id="extensible float",
        ),
        pytest.param(
            riff(form(2), DATA), "it has something else in it (format 2)", id="ADPCM"
        ),
        pytest.param(
            riff(extensible(1, 2), DATA), "it has 2 channels of 16 bits", id="extensible stereo"
        ),
        pytest.param(
            riff(extensible(1, rest=bytes(14)), DATA), "it has something else in it (format 65534)",
            id="another GUID",
        ),
        pytest.param(
            riff(form(0xFFFE), DATA), "it has something else in it (format 65534)", id="no GUID"
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_refused_says_why(tmp_path: Path, file: bytes, why: str) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(file)
    with pytest.raises(WavError) as error:
        wav.read(path)
    assert str(error.value) == f"{path} is not a mono WAV of 16-bit PCM or G.711: {why}"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without an end")
def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(WavError, match="/dev/zero is not a mono WAV"):
        wav.read(Path("/dev/zero"))


@given(st.binary(max_size=80), st.binary(max_size=8), st.integers(0, 60))
def test_any_bytes_are_audio_or_a_wav_error(body: bytes, noise: bytes, at: int) -> None:
    whole = riff(extensible(1), DATA)
    for file in (
        body,
        riff(body),
        riff(form(), body),
        whole[:at] + noise + whole[at + len(noise) :],
    ):
        try:
            audio = wav.parse(file)
        except WavError:
            continue
        assert audio.data in file
        assert audio.sample_rate > 0
        assert b"".join(audio.frames(7)) == audio.data
        assert len(audio.data) % BYTES_PER_SAMPLE[audio.encoding] == 0


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(WavError, match=r"none\.wav cannot be read: No such file or directory$"):
        wav.read(tmp_path / "none.wav")
    with pytest.raises(WavError, match=r"cannot be read: Is a directory$"):
        wav.read(tmp_path)


# Written


@given(st.binary(min_size=1), st.integers(1, 2**31 - 1), st.sampled_from(list(BYTES_PER_SAMPLE)))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, rate: int, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "again.wav"
    audio = Audio(data * BYTES_PER_SAMPLE[encoding], rate, encoding)
    wav.write(path, audio)
    assert wav.read(path) == audio


def test_pcm16_is_written_as_the_standard_library_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "back.wav"
    wav.write(path, SECOND)
    with wave.open(str(path), "rb") as file:
        assert file.getparams()[:4] == (1, 2, 8000, 8000)
        assert file.readframes(8000) == SECOND.data


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a RIFF file, each of which must be whole and padded."""
    magic, size, kind = struct.unpack_from("<4sI4s", data)
    assert (magic, kind, size) == (b"RIFF", b"WAVE", len(data) - 8)
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
    g711 = codec.choose(law=law).encode(SECOND.data[: 2 * samples])
    wav.write(path, Audio(g711, 8000, law))
    found = chunks(path.read_bytes())
    assert list(found) == [b"fmt ", b"fact", b"data"]
    assert struct.unpack("<HHIIHHH", found[b"fmt "]) == (tag, 1, 8000, 8000, 1, 8, 0)
    assert struct.unpack("<I", found[b"fact"]) == (samples,)
    assert found[b"data"] == g711


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WavError, match=r"cannot be written: No such file or directory$"):
        wav.write(tmp_path / "none" / "back.wav", SECOND)
    with pytest.raises(WavError, match=r"fast\.wav cannot be written: a WAV file counts to 4 GiB"):
        wav.write(tmp_path / "fast.wav", Audio(b"ab", 2**32 - 1))


# Whether it can be written


def test_a_check_leaves_everything_as_it_was(tmp_path: Path) -> None:
    new, old, link = tmp_path / "new.wav", tmp_path / "old.wav", tmp_path / "link.wav"
    old.write_bytes(b"kept")
    link.symlink_to(tmp_path / "far.wav")
    for path in (new, old, link):
        wav.check_writable(path)
    assert old.read_bytes() == b"kept"
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.wav", "old.wav"]


def test_a_check_says_why_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "back.wav", "No such file or directory"),
        (tmp_path / "file" / "back.wav", "Not a directory"),
    ):
        with pytest.raises(WavError, match=f"^{path} cannot be written: {why}$"):
            wav.check_writable(path)


def test_a_check_does_not_wait_for_the_reader_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    wav.check_writable(tmp_path / "pipe")

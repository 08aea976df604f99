"""WAV files: 16-bit mono PCM in, PCM or G.711 out."""

import re
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

#: The WAV format tag of each encoding (RFC 2361), and its bytes a sample.
_FORMATS = {"pcm16": (1, 2), "alaw": (6, 1), "ulaw": (7, 1)}
_FORMAT_TITLES = {3: "floating point", 6: "G.711 A-law", 7: "G.711 mu-law", 0xFFFE: "an extension"}


class WavError(Exception):
    """A file is not a 16-bit mono PCM WAV, or cannot be read or written."""


@dataclass(frozen=True)
class Audio:
    """Mono PCM16, and how many samples of it make a second."""

    pcm: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.pcm) / 2 / self.sample_rate

    def frames(self, samples: int) -> list[bytes]:
        """Return the audio in frames of so many samples; the last may be shorter."""
        return [self.pcm[at : at + 2 * samples] for at in range(0, len(self.pcm), 2 * samples)]


def read(path: Path) -> Audio:
    """Return the audio of a 16-bit mono PCM WAV; raise WavError for any other file."""
    try:
        with wave.open(str(path), "rb") as wav:
            channels, width, rate, count = wav.getparams()[:4]
            pcm = wav.readframes(count)
    except OSError as error:
        raise WavError(f"{path} cannot be read: {error.strerror or error}") from None
    except (wave.Error, EOFError, RuntimeError) as error:  # the last from a chunk beyond the end
        raise WavError(f"{path} is not a 16-bit mono PCM WAV: {_what_it_is(error)}") from None
    if (channels, width) != (1, 2):
        plural = "s" if channels > 1 else ""
        raise WavError(
            f"{path} is not a 16-bit mono PCM WAV: "
            f"it has {channels} channel{plural} of {8 * width} bits"
        )
    if not rate or len(pcm) < 2:
        raise WavError(f"{path} has {'no audio in it' if rate else 'a sample rate of 0'}")
    # A file cut off in the middle of a sample would end in a frame that the service refuses.
    return Audio(pcm[: len(pcm) // 2 * 2], rate)


def write(path: Path, audio: bytes, encoding: str, sample_rate: int) -> None:
    """Write mono audio in `pcm16`, `ulaw` or `alaw` as a WAV file; raise WavError if it can't be.

    The standard library's writer knows only PCM; G.711 needs its own format tag, the extended
    format chunk and a fact chunk (Microsoft's "New Multimedia Data Types", 1994).
    """
    tag, width = _FORMATS[encoding]
    form = struct.pack("<HHIIHH", tag, 1, sample_rate, sample_rate * width, width, 8 * width)
    if encoding == "pcm16":
        chunks = _chunk(b"fmt ", form)
    else:
        extension_size = struct.pack("<H", 0)
        fact = struct.pack("<I", len(audio))
        chunks = _chunk(b"fmt ", form + extension_size) + _chunk(b"fact", fact)
    try:
        path.write_bytes(_chunk(b"RIFF", b"WAVE" + chunks + _chunk(b"data", audio)))
    except OSError as error:
        raise WavError(f"{path} cannot be written: {error.strerror or error}") from None


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _what_it_is(error: Exception) -> str:
    """Return what the file is instead, as far as `wave` can tell."""
    unknown = re.fullmatch(r"unknown (?:extended )?format(?:: (\d+))?", str(error))
    if unknown is None:
        return "it is no complete WAV file"
    tag = int(unknown[1] or 0xFFFE)
    return f"it has {_FORMAT_TITLES.get(tag, 'something else')} in it (format {tag})"

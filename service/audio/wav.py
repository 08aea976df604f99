"""WAV files: mono audio in 16-bit PCM or G.711, read and written.

The standard library's `wave` knows no G.711, and a broken file makes it raise any exception.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.audio.encodings import BYTES_PER_SAMPLE, WAV_TAGS

_ENCODINGS = {tag: encoding for encoding, tag in WAV_TAGS.items()}
#: WAVE_FORMAT_EXTENSIBLE has its format's tag at the start of a GUID, which goes on like this.
_EXTENSIBLE = 0xFFFE
_GUID_REST = bytes.fromhex("000000001000800000aa00389b71")


class WavError(Exception):
    """A file is not such a WAV file, or cannot be read or written; the text is one sentence."""


@dataclass(frozen=True)
class Audio:
    """Mono audio: its bytes, how many samples of it make a second, and its encoding."""

    data: bytes
    sample_rate: int
    encoding: str = "pcm16"

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.data) / BYTES_PER_SAMPLE[self.encoding] / self.sample_rate

    def frames(self, samples: int) -> list[bytes]:
        """Return the audio in frames of so many samples; the last may be shorter."""
        size = samples * BYTES_PER_SAMPLE[self.encoding]
        return [self.data[at : at + size] for at in range(0, len(self.data), size)]


def read(path: Path) -> Audio:
    """Return the audio of a WAV file; raise WavError for any file that `parse` refuses."""
    try:
        with path.open("rb") as file:
            # A file of another kind may have no end.
            head = file.read(12)
            return parse(head + file.read() if _is_wav(head) else head)
    except OSError as error:
        raise WavError(f"{path} cannot be read: {error.strerror or error}") from None
    except WavError as error:
        raise WavError(f"{path} is not a mono WAV of 16-bit PCM or G.711: {error}") from None


def parse(file: bytes) -> Audio:
    """Return the audio in the bytes of a mono WAV file of 16-bit PCM or G.711; raise WavError.

    Programs that write to a pipe give a length beyond the end: the audio then lasts until there.
    """
    if not _is_wav(file):
        raise WavError("it is no WAV file")
    encoding, rate = "", 0
    for name, chunk in _chunks(file):
        if name == b"fmt ":
            encoding, rate = _format(chunk)
        elif name == b"data" and encoding:
            size = BYTES_PER_SAMPLE[encoding]
            data = bytes(chunk[: len(chunk) // size * size])
            if not data:
                raise WavError("it has no audio in it")
            return Audio(data, rate, encoding)
    raise WavError(f"it has no {'audio' if encoding else 'format'} chunk where one is due")


def write(path: Path, audio: Audio) -> None:
    """Write the audio as a WAV file; raise WavError if that cannot be done.

    G.711 needs its own format tag, the extended format chunk and a fact chunk (Microsoft's "New
    Multimedia Data Types", 1994).
    """
    tag, width, rate = WAV_TAGS[audio.encoding], BYTES_PER_SAMPLE[audio.encoding], audio.sample_rate
    try:
        form = struct.pack("<HHIIHH", tag, 1, rate, rate * width, width, 8 * width)
        if audio.encoding == "pcm16":
            chunks = _chunk(b"fmt ", form)
        else:
            extension_size = struct.pack("<H", 0)
            fact = struct.pack("<I", len(audio.data))
            chunks = _chunk(b"fmt ", form + extension_size) + _chunk(b"fact", fact)
        path.write_bytes(_chunk(b"RIFF", b"WAVE" + chunks + _chunk(b"data", audio.data)))
    except OSError as error:
        raise WavError(f"{path} cannot be written: {error.strerror or error}") from None
    except struct.error:
        raise WavError(f"{path} cannot be written: a WAV file counts to 4 GiB only") from None


def check_writable(path: Path) -> None:
    """Raise WavError if the file cannot be written; leave everything as it was."""
    try:
        if path.is_fifo():
            return  # The reader of a pipe would take the close for the end.
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            os.unlink(os.path.realpath(path))  # Where the path is a link, the link stays.
    except OSError as error:
        raise WavError(f"{path} cannot be written: {error.strerror or error}") from None


def _is_wav(file: bytes) -> bool:
    return file[:4] == b"RIFF" and file[8:12] == b"WAVE"


def _chunks(file: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and the data of each chunk; the last may be shorter than its length says."""
    at, view = 12, memoryview(file)
    while at + 8 <= len(file):
        name, size = struct.unpack_from("<4sI", file, at)
        yield name, view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _format(chunk: memoryview) -> tuple[str, int]:
    """Return the encoding and the sample rate that a format chunk gives; raise WavError."""
    if len(chunk) < 16:
        raise WavError("its format chunk is too short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and chunk[26:40] == _GUID_REST:
        [tag] = struct.unpack_from("<H", chunk, 24)
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        what = "floating point" if tag == 3 else "something else"
        raise WavError(f"it has {what} in it (format {tag})")
    if (channels, bits) != (1, 8 * BYTES_PER_SAMPLE[encoding]):
        raise WavError(f"it has {channels} channel{'s' * (channels != 1)} of {bits} bits")
    if not rate:
        raise WavError("its sample rate is 0")
    return encoding, rate


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

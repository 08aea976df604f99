"""THE table of encodings: their names, the size of a sample, their tags in WAV files."""

#: Each encoding by its own name, and how many bytes a sample of it has.
BYTES_PER_SAMPLE = {"pcm16": 2, "ulaw": 1, "alaw": 1}
ENCODINGS = tuple(BYTES_PER_SAMPLE)
#: The byte of which silence is made.
SILENCE = {"pcm16": b"\x00", "ulaw": b"\xff", "alaw": b"\xd5"}

#: The format tag of each in a WAV file (RFC 2361).
WAV_TAGS = {"pcm16": 1, "alaw": 6, "ulaw": 7}

#: The names that callers use, and the encoding of each (RFC 3551, RFC 4856, and common use).
ENCODING_NAMES = {
    "pcm16": "pcm16", "linear16": "pcm16", "l16": "pcm16",
    "ulaw": "ulaw", "mulaw": "ulaw", "pcmu": "ulaw", "g711_ulaw": "ulaw",
    "alaw": "alaw", "pcma": "alaw", "g711_alaw": "alaw",
}  # fmt: skip

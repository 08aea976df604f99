"""THE table of encodings: their names, and what a sample of each is made of."""

#: Each encoding by its own name, and how many bytes a sample of it has.
BYTES_PER_SAMPLE = {"pcm16": 2, "ulaw": 1, "alaw": 1}
ENCODINGS = tuple(BYTES_PER_SAMPLE)

#: The names that callers use, and the encoding of each (RFC 3551, RFC 4856, and common use).
ENCODING_NAMES = {
    "pcm16": "pcm16", "linear16": "pcm16", "l16": "pcm16",
    "ulaw": "ulaw", "mulaw": "ulaw", "pcmu": "ulaw", "g711_ulaw": "ulaw",
    "alaw": "alaw", "pcma": "alaw", "g711_alaw": "alaw",
}  # fmt: skip

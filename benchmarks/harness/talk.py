"""What the generator's clients say, and what must come back: made here, sent and compared in C."""

import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.frames import Opcode

from harness.turns import frames, speech
from service.codec import tier
from tests.peers.frames import masked
from tests.peers.reach import upgrade_request

#: So many frames, as load/conn.h has room for.
POOL = 64
SID = "MZ00000000000000000000000000000000"
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    f'{{"event":"start","sequenceNumber":"1","streamSid":"{SID}","start":{{"streamSid":"{SID}",'
    '"tracks":["inbound"],"customParameters":{},'
    '"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}'
)


@dataclass(frozen=True)
class Talk:
    """Frames, each with the payload that is due for it; `hello` goes ahead of them."""

    exchanges: Sequence[tuple[bytes, bytes]]
    hello: bytes = b""

    def written(self, path: str) -> bytes:
        """Return the generator's input: the upgrade and all of this, each behind its size."""
        pairs = (message for exchange in self.exchanges for message in exchange)
        messages = (upgrade_request(path), self.hello, *pairs)
        return b"".join(struct.pack("I", len(message)) + message for message in messages)


def said(size: int) -> list[bytes]:
    """Return different frames of that many bytes of speech."""
    return list(dict.fromkeys(frames(speech(), size)))[:POOL]


def audio(says: list[bytes], hears: list[bytes]) -> Talk:
    """Return a talk in binary frames."""
    sent = [masked(Opcode.BINARY, frame) for frame in says]
    return Talk(list(zip(sent, hears, strict=True)))


def echoed(frames: list[bytes]) -> Talk:
    """Return a talk of which each frame comes back as it was."""
    return audio(frames, frames)


def twilio(sound: bytes) -> tuple[bytes, bytes]:
    """Return what Twilio says around mu-law audio, and what a bot that echoes says to it."""
    payload = b64encode(sound).decode()
    media = (
        '{"event":"media","sequenceNumber":"3002","media":{"track":"inbound","chunk":"3001",'
        f'"timestamp":"60000","payload":"{payload}"}},"streamSid":"{SID}"}}'
    )
    reply = f'{{"event":"media","streamSid":"{SID}","media":{{"payload":"{payload}"}}}}'
    return masked(Opcode.TEXT, media.encode()), reply.encode()


PCM = echoed(said(320))
MULAW = [tier("numpy", "ulaw").encode(frame) for frame in said(320)]
HELLO = b"".join(masked(Opcode.TEXT, text.encode()) for text in (CONNECTED, START))
TWILIO = Talk([twilio(sound) for sound in MULAW], HELLO)

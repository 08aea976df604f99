"""A handler that tells its caller which words it has heard, by PocketSphinx.

The words are looked for once the caller has pressed a key. The recognizer hears 16 kHz, whatever
the caller sends.
"""

import trio

from service.handlers import Call, Digits

RATE = 16000


def words(pcm: bytes) -> str:
    """Return the English words in one utterance."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return "" if found is None else str(found.hypstr)


async def answer(call: Call) -> None:
    said = b""
    async for event in call.events(RATE):
        if isinstance(event, bytes):
            said += event
        elif isinstance(event, Digits):
            await call.send(await trio.to_thread.run_sync(words, said))
            said = b""

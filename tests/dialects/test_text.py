"""What all dialects of JSON do with text."""

from contextlib import suppress

import pytest

from service.dialects.book import DIALECTS
from service.dialects.events import BadMessage, Start


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_a_parameter_is_heard_or_bad_however_deep_it_is_nested(
    dialect: str, opened: str, closed: str
) -> None:
    audio = DIALECTS[dialect].formats[0]
    begin = Start(audio, audio, "stream-1", "call-1", parameters={"mood": "MOOD"})
    message = DIALECTS[dialect].peer(begin).say(begin)[-1]
    assert isinstance(message, str)
    for depth in range(500, 1000):  # one of these is the most that the interpreter can do
        mood = f"{opened * depth}1{closed * depth}"
        # Plivo has JSON in a string of JSON.
        nested = message.replace('"MOOD"', mood).replace('\\"MOOD\\"', mood.replace('"', '\\"'))
        with suppress(BadMessage):
            [start, *_] = DIALECTS[dialect].service({}).hear(nested)
            assert isinstance(start, Start)
            # To FreeSWITCH what is no JSON is text.
            assert start.parameters.get("mood", mood) == mood

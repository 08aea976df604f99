"""Names of marks, as short and plain as a peer can carry them."""

import pytest

from service.dialects.events import Mark
from service.dialects.marks import Marks


@pytest.mark.parametrize(("name", "sent"), [
    ("utterance-1", "utterance-1"), ("x" * 40, "x" * 40), ("[~]", "[~]"),
    ("x" * 41, "#1"), ("", "#1"), ("two words", "#1"), ('"', "#1"), ("\\", "#1"), ("é", "#1"),
    ("line\n", "#1"),
])  # fmt: skip
def test_a_name_is_sent_as_it_is_or_by_a_number(name: str, sent: str) -> None:
    marks = Marks()
    assert marks.set(name) == sent
    assert marks.heard(sent) == (Mark(name),)


def test_numbers_are_not_taken_for_names() -> None:
    marks = Marks()
    assert [marks.set("two words"), marks.set("#1"), marks.set("a b")] == ["#1", "#2", "#3"]
    assert marks.heard("#2") == (Mark("#1"),)
    assert marks.heard("#1") == ()
    assert marks.heard("#3") == (Mark("a b"),)

"""The alphabet of bearer tokens."""

import pytest

from service import bearer


@pytest.mark.parametrize("token", ["a", "a==", "abc-._~+/019AZ="])
def test_a_token(token: str) -> None:
    assert bearer.wrong_at(token) is None


@pytest.mark.parametrize(
    ("text", "index"), [("", 0), ("=", 0), ("a=b", 2), ("a b", 1), ("ab\u00fc", 2), ("a\n", 1)]
)
def test_where_a_text_is_no_token(text: str, index: int) -> None:
    assert bearer.wrong_at(text) == index

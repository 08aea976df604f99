"""Who may connect."""

from pathlib import Path

import pytest

from service.config import ConfigurationError
from service.web.access import Access, agreed_subprotocol


@pytest.mark.parametrize(
    ("origin", "host", "welcome"),
    [
        (None, "voice.example", True),
        ("https://voice.example", "voice.example", True),
        ("http://Voice.example:8001", "voice.EXAMPLE:8001", True),
        ("https://voice.example", "voice.example:8001", False),
        ("https://elsewhere.example", "voice.example", False),
        ("https://voice.example.evil.example", "voice.example", False),
        ("null", "voice.example", False),
        ("https://voice.example", None, False),
    ],
)
def test_pages_from_elsewhere_are_not_welcome(
    origin: str | None, host: str | None, welcome: bool
) -> None:
    assert Access([], None).welcomes(origin, host) is welcome


def test_listed_origins_are_welcome() -> None:
    access = Access(["https://app.example"], None)
    assert access.welcomes("https://APP.example", "voice.example")
    assert not access.welcomes("http://app.example", "voice.example")
    assert Access(["*"], None).welcomes("https://any.example", "voice.example")


def test_without_tokens_everybody_is_admitted() -> None:
    assert Access([], None).admits(None, None, [])


@pytest.mark.parametrize(
    ("authorization", "query", "subprotocols", "admitted"),
    [
        ("Bearer secret-1", None, [], True),
        ("bearer  secret-2 ", None, [], True),
        (None, "secret-2", [], True),
        (None, None, ["chat", "bearer.secret-1"], True),
        ("Basic secret-1", None, [], False),
        ("Bearer secret-3", "", ["bearer."], False),
        ("Bearer secret", "secret-1x", ["secret-1"], False),
        ("Bearer \udcff", None, [], False),
        (None, None, [], False),
    ],
)
def test_a_known_token_is_needed_in_one_of_three_places(
    authorization: str | None, query: str | None, subprotocols: list[str], admitted: bool
) -> None:
    access = Access([], ["secret-1", "secret-2"])
    assert access.admits(authorization, query, subprotocols) is admitted


def test_the_subprotocol_that_carries_a_token_is_the_agreed_one() -> None:
    assert agreed_subprotocol(["chat", "bearer.x", "bearer.y"]) == "bearer.x"
    assert agreed_subprotocol(["chat"]) is None


def test_a_tokens_file_has_a_token_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# our callers\nabc-._~+/1==\n\n  second  \n")
    access = Access.load([], file)
    assert access.admits("Bearer abc-._~+/1==", None, [])
    assert access.admits(None, "second", [])
    assert not access.admits(None, "# our callers", [])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no token in it"),
        (b"# nobody\n\n  # here\n", "has no token in it"),
        (b"# us\r\nsecret-1\r\n\r\n two words\r\n", "line 4, column 5: a token has letters"),
        (b"secret=1\n", "line 1, column 8: a token has letters, .* = only at its end"),
        (b"secret-1\n=secret\n", "line 2, column 1: "),
        (b"gr\xc3\xbcn\n", "line 1, column 3: "),
        (b"secret\x85\n", "line 1, column 7: "),
        ("secret-1\n".encode("utf-16"), "line 1, column 1: "),
    ],
)
def test_a_tokens_file_error_says_where_and_shows_no_token(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^RT_AUDIO_TOKENS_FILE={file}: {why}") as caught:
        Access.load([], file)
    message = str(caught.value).removeprefix(f"RT_AUDIO_TOKENS_FILE={file}")
    assert not any(word in message for word in ("secret", "words", "gr"))


def test_a_tokens_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    for file, why in ((nowhere, "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError, match=f"{file}: cannot be read: {why}$"):
            Access.load([], file)

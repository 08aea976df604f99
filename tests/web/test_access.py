"""Who may connect."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from service import bearer
from service.bearer import Token
from service.config import ConfigurationError
from service.web.access import Access, Tokens, agreed_subprotocol, read_tokens
from service.web.vouching import Vouching
from tests.peers.logged import entries


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


@pytest.mark.parametrize(
    ("authorization", "query", "subprotocols", "known"),
    [
        ("Bearer secret-1", None, [], "one"),
        ("bearer  secret-2 ", None, [], "line 2"),
        (None, "secret-2", [], "line 2"),
        (None, None, ["chat", "bearer.secret-1"], "one"),
        ("Bearer secret-3", "secret-2", [], "line 2"),
        ("Basic secret-1", None, [], None),
        ("Bearer secret-3", "", ["bearer."], None),
        ("Bearer secret", "secret-1x", ["secret-1"], None),
        ("Bearer one:secret-1", "one", [], None),
        ("Bearer \udcff", None, [], None),
        (None, None, [], None),
    ],
)
def test_a_known_token_is_found_in_one_of_three_places(
    authorization: str | None, query: str | None, subprotocols: list[str], known: str | None
) -> None:
    digests = [bearer.digest(token) for token in ("secret-1", "secret-2")]
    tokens = [Token(digests[0], "one", 1), Token(digests[1], None, 2)]
    access = Access([], dict(zip(digests, tokens, strict=True)))
    found = access.token(authorization, query, subprotocols)
    assert (found and found.called) == known


def test_the_subprotocol_that_carries_a_token_is_the_agreed_one() -> None:
    assert agreed_subprotocol(["chat", "bearer.x", "bearer.y"]) == "bearer.x"
    assert agreed_subprotocol(["chat"]) is None


def test_a_tokens_file_has_a_token_a_line_with_or_without_a_name_and_comments(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens"
    file.write_text("# our callers\nabc-._~+/1==\n\n  second  \nacme-2.x_y:third=\nacme:abc\n")
    found = read_tokens(file).values()
    assert [(token.digest, token.called) for token in found] == [
        (bearer.digest("abc-._~+/1=="), "line 2"),
        (bearer.digest("second"), "line 4"),
        (bearer.digest("third="), "acme-2.x_y"),
        (bearer.digest("abc"), "acme"),
    ]


def test_the_tokens_of_one_name_count_together_and_each_other_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("acme:old\nacme:new\nfirst\nsecond\n")
    holders = [token.holder for token in read_tokens(file).values()]
    assert holders[0] == holders[1] == "acme"
    assert len(set(holders)) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no token in it"),
        (b"# nobody\n\n  # here\n", "has no token in it"),
        (b"# us\r\nsecret-1\r\n\r\n two words\r\n", "line 4, column 5: a token has letters"),
        (b"secret=1\n", "line 1, column 8: a token has letters, .* = only at its end"),
        (b"secret-1\n=secret\n", "line 2, column 1: "),
        (b"acme:secret 1\n", "line 1, column 12: a token has letters"),
        (b"acme:\n", "line 1, column 6: a token has letters"),
        (b" se cret:1\n", "line 1, column 2: a name has 1 to 40 letters"),
        (b":secret\n", "line 1, column 1: a name has"),
        (b"a:secret:b\n", "line 1, column 1: a name has"),
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
        read_tokens(file)
    message = str(caught.value).removeprefix(f"RT_AUDIO_TOKENS_FILE={file}")
    assert not any(word in message for word in ("secret", "words", "gr"))


def test_a_tokens_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    for file, why in ((nowhere, "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError, match=f"{file}: cannot be read: {why}$"):
            read_tokens(file)


@pytest.mark.parametrize(
    ("secrets", "tokens", "bare"),
    [
        ((), None, "twilio, telnyx, vonage"),
        (("telnyx",), None, "twilio, vonage"),
        (("telnyx", "twilio", "vonage"), None, None),
        ((), {}, None),
    ],
)
def test_a_line_names_the_endpoints_that_are_open_to_all(
    secrets: Collection[str],
    tokens: Tokens | None,
    bare: str | None,
    capfd: pytest.CaptureFixture[str],
    set_up_logs: Callable[[str, str], None],
) -> None:
    set_up_logs("info", "json")
    vouching = Vouching(dict.fromkeys(secrets, (b"secret",)), "wss://voice.example")
    Access([], tokens, vouching).warn_of_open_endpoints(("twilio", "telnyx", "vonage"))
    lines = [(line["event"], line["dialects"]) for line in entries(capfd)]
    assert lines == ([] if bare is None else [("endpoint_open", bare)])

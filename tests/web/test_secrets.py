"""The folder of secrets, and what an operator is told when it is wrong."""

import re
from collections.abc import Collection
from pathlib import Path

import pytest

from service.config import ConfigurationError
from service.web.secrets import read_secrets
from service.web.vouching import PROOFS, Claim, Vouching

URL = "wss://voice.example"


def folder(path: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def has(vouching: Vouching, token: bytes) -> bool:
    """Return whether this is one of Telnyx's tokens."""
    headers = [(b"x-telnyx-streaming-auth-token", token)]
    return vouching.vouches(Claim("telnyx", "/ws/telnyx", b"", headers))


def test_a_file_has_a_secret_a_line_and_comments(tmp_path: Path) -> None:
    content = b"# the old one\nfirst\n\n  s-e.c_o~n/d==  \n\t# the new one\nthird"
    vouching = read_secrets(folder(tmp_path, telnyx=content), None)
    assert list(vouching.dialects) == ["telnyx"]
    assert all(has(vouching, token) for token in (b"first", b"s-e.c_o~n/d==", b"third"))
    assert not any(has(vouching, token) for token in (b"", b"# the old one", b"the", b"fourth"))


def test_a_secret_is_read_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    """There each file is a link into `..data`, which is itself a link to a folder."""
    (tmp_path / "..2026").mkdir()
    folder(tmp_path / "..2026", telnyx=b"first\n")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "telnyx").symlink_to("..data/telnyx")
    assert has(read_secrets(tmp_path, None), b"first")


def test_every_dialect_may_have_a_file(tmp_path: Path) -> None:
    files = {
        name: b"user:secret" if proof.user_and_password else b"secret"
        for name, proof in PROOFS.items()
    }
    assert set(read_secrets(folder(tmp_path, **files), URL).dialects) == set(PROOFS)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, ": has no file of secrets in it"),
        ({".telnyx.swp": b"secret"}, ": has no file of secrets in it"),
        ({"twillio": b"secret"}, ": 'twillio' is no dialect; twilio, telnyx, plivo, vonage, "),
        ({"telnyx": b""}, ": telnyx has no secret in it; a line must be a secret in visible"),
        ({"telnyx": b"# secret\n\n"}, ": telnyx has no secret in it"),
        ({"telnyx": b"secret\ntwo secrets\n"}, ", line 2: must be a secret in visible ASCII"),
        ({"vonage": b"secret\r\n"}, ", line 1: must be a secret in visible ASCII"),
        ({"twilio": b"\xef\xbb\xbfsecret"}, ", line 1: must be a secret in visible ASCII"),
        ({"plivo": "secret".encode("utf-16")}, ", line 1: must be"),
        ({"asterisk": b"secret"}, ", line 1: must be user:password, the user in visible"),
        ({"asterisk": b"\n\npbx:\n"}, ", line 3: must be user:password"),
        ({"jambonz": b":secret:secret"}, ", line 1: must be user:password"),
        ({"exotel": b"key: secret\r\n"}, ", line 1: must be user:password"),
        ({"freeswitch": b"a b:secret"}, ", line 1: must be user:password"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_one_line_that_says_where_and_shows_no_secret(
    tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_secrets(folder(tmp_path, **files), URL)
    message = str(caught.value)
    beginning = f"RT_AUDIO_SECRETS_DIR={tmp_path}"
    assert message.startswith(beginning)
    assert why in message.removeprefix(beginning)
    allowed = r"a secret in visible|no secret in it|file of secrets|SECRETS_DIR"
    assert "secret" not in re.sub(allowed, "", message)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere", "cannot be read: No such file or directory"),
        ("file", "cannot be read: Not a directory"),
        ("full", "telnyx cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "telnyx").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=f"{path}: {why}$"):
        read_secrets(tmp_path / path, None)


@pytest.mark.parametrize("names", [["twilio"], ["plivo"], ["plivo", "telnyx", "twilio"]])
def test_who_signs_the_url_needs_it(tmp_path: Path, names: list[str]) -> None:
    folder(tmp_path, **dict.fromkeys(names, b"secret"))
    signing = " and ".join(name for name in names if name != "telnyx")
    why = f"^RT_AUDIO_PUBLIC_URL: must be set, .*{tmp_path} has secrets of {signing}:"
    with pytest.raises(ConfigurationError, match=why):
        read_secrets(tmp_path, None)


@pytest.mark.parametrize(
    ("kept", "why"),
    [((), None), (("telnyx",), None), (("telnyx", "vonage"), "vonage is missing; only a restart")],
)
def test_a_dialect_that_had_secrets_must_have_some(
    tmp_path: Path, kept: Collection[str], why: str | None
) -> None:
    folder(tmp_path, telnyx=b"first\n")
    if why is None:
        assert has(read_secrets(tmp_path, None, kept), b"first")
        return
    with pytest.raises(ConfigurationError, match=why):
        read_secrets(tmp_path, None, kept)

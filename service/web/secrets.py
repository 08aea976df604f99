"""The folder of secrets: a file for each dialect, as Kubernetes mounts a Secret."""

import re
from collections.abc import Collection
from pathlib import Path

from service.config import ConfigurationError
from service.web.vouching import PROOFS, Vouching

_TOKEN = re.compile(rb"[!-~]+")
_TOKEN_IS = "a secret in visible ASCII characters, without a space"
_PAIR = re.compile(rb"[!-9;-~]+:[^\x00-\x1f\x7f]+")
_PAIR_IS = "user:password, the user in visible ASCII characters, nothing empty"


def watched(folder: Path) -> tuple[Path, ...]:
    """Return the paths of which one has changed whenever a secret has."""
    return folder, *(folder / dialect for dialect in PROOFS)


def read_secrets(folder: Path, public_url: str | None, kept: Collection[str] = ()) -> Vouching:
    """Return the secrets of a folder: a secret a line, `#` for comments, a dot's file passed over.

    `kept` names dialects that must have secrets still: else a slip would open their endpoints.
    Raises ConfigurationError for a file that is wrong or missing; it shows no secret.
    """
    try:
        names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise _wrong(folder, f"cannot be read: {error.strerror or error}") from None
    for name in names:
        if name not in PROOFS:
            raise _wrong(folder, f"{name!r} is no dialect; {', '.join(PROOFS)} are")
    for name in kept:
        if name not in names:
            raise _wrong(folder, f"{name} is missing; only a restart opens its endpoint")
    if not names:
        raise _wrong(folder, "has no file of secrets in it")
    secrets = {name: _lines(folder, name) for name in names}
    signing = [name for name in names if PROOFS[name].signs_url]
    if signing and public_url is None:
        raise ConfigurationError(
            f"RT_AUDIO_PUBLIC_URL: must be set, for RT_AUDIO_SECRETS_DIR={folder} has secrets of "
            f"{' and '.join(signing)}: signatures are of the URL"
        )
    return Vouching(secrets, public_url)


def _lines(folder: Path, name: str) -> tuple[bytes, ...]:
    try:
        lines = (folder / name).read_bytes().split(b"\n")
    except OSError as error:
        raise _wrong(folder, f"{name} cannot be read: {error.strerror or error}") from None
    pair = PROOFS[name].user_and_password
    right, allowed = (_PAIR, _PAIR_IS) if pair else (_TOKEN, _TOKEN_IS)
    secrets = []
    for number, line in enumerate(lines, 1):
        entry = line.strip(b" \t")
        if not entry or entry.startswith(b"#"):
            continue
        if not right.fullmatch(entry):
            raise _wrong(folder, f"{name}, line {number}: must be {allowed}")
        secrets.append(entry)
    if not secrets:
        raise _wrong(folder, f"{name} has no secret in it; a line must be {allowed}")
    return tuple(secrets)


def _wrong(folder: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"RT_AUDIO_SECRETS_DIR={folder}: {why}")

"""The service's own certificate and key: read once, and refused with the reason."""

import ssl
from pathlib import Path

from service.config import ConfigurationError

_CERT, _KEY = "RT_AUDIO_TLS_CERT_FILE", "RT_AUDIO_TLS_KEY_FILE"
#: OpenSSL's reasons for a key of other values, and for one of another algorithm.
_NOT_ITS_KEY = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return the TLS context of a certificate chain and its key.

    Raises ConfigurationError, which names the wrong one of the two PEM files and the reason.
    """
    cert, key = _text(_CERT, cert_file), _text(_KEY, key_file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=cert)
    except (ssl.SSLError, ValueError):  # the latter for an empty file
        raise _wrong(_CERT, cert_file, "has no readable PEM certificate in it") from None
    # OpenSSL would ask for the passphrase on the terminal, and wait.
    if "ENCRYPTED" in key:
        raise _wrong(_KEY, key_file, "is encrypted; the service takes a key without a passphrase")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    # Under TLS 1.2 a peer could demand signatures without end (RFC 5246, 7.4.1.1).
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(cert_file, key_file)
    except ssl.SSLError as error:
        if error.reason in _NOT_ITS_KEY:
            why = f"is not the key of the certificate in {_CERT}={cert_file}"
            raise _wrong(_KEY, key_file, why) from None
        if error.reason is None:  # The certificate was readable, so the key is not.
            raise _wrong(_KEY, key_file, "has no readable PEM private key in it") from None
        why = f"cannot be used: {error.reason.replace('_', ' ').lower()}"
        raise _wrong(_CERT, cert_file, why) from None
    return context


def _text(variable: str, path: Path) -> str:
    try:
        # PEM files may have comments in any encoding; OpenSSL skips them.
        return path.read_text(encoding="ascii", errors="replace").replace("\ufffd", "?")
    except OSError as error:
        raise _wrong(variable, path, f"cannot be read: {error.strerror or error}") from None


def _wrong(variable: str, path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"{variable}={path}: {why}")

"""Why a TLS handshake failed, in the few kinds that an operator acts on differently."""

import ssl

from service.tally import TlsFailure

#: What OpenSSL says of bytes that are no TLS: other protocols than HTTP have a "version" too.
_NOT_TLS = {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"}
#: What it says where the two sides have nothing in common, the peer's alerts included.
_INCOMPATIBLE = {
    "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "VERSION_TOO_HIGH", "NO_SHARED_CIPHER",
    "NO_SHARED_GROUP", "NO_SHARED_GROUPS", "NO_SUITABLE_KEY_SHARE", "NO_SUITABLE_GROUPS",
    "NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_SHARED_SIGNATURE_ALGORITHMS",
    "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
}  # fmt: skip


def explained(error: BaseException | None) -> tuple[TlsFailure, str]:
    """Return the kind of a failure, and it in words, from what the handshake raised at last."""
    ended = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if ended or not isinstance(error, ssl.SSLError) or error.reason is None:
        return TlsFailure.LOST, "the peer hung up"
    reason = error.reason
    words = reason.replace("_", " ").lower()
    if reason in _NOT_TLS:
        return TlsFailure.NOT_TLS, words
    if reason in _INCOMPATIBLE:
        return TlsFailure.INCOMPATIBLE, words
    # Alerts of RFC 8446, 6.2: bad_certificate, certificate_expired, unknown_ca and their like.
    if "_ALERT_" in reason and ("CERTIFICATE" in reason or reason.endswith("_UNKNOWN_CA")):
        return TlsFailure.CERTIFICATE, words
    return TlsFailure.PROTOCOL, words

"""The certificate of the tests' TLS services, and the authority that its clients trust."""

from functools import cache

import trustme


@cache
def certificate_authority() -> trustme.CA:
    """Return the authority that the tests trust."""
    return trustme.CA()


@cache
def certificate() -> trustme.LeafCert:
    """Return a certificate for localhost."""
    return certificate_authority().issue_cert("localhost")

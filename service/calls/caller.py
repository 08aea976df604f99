"""Who calls, as far as the request to upgrade tells."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """What the logs say of a caller; None for what is not known.

    `peer` is the address and port.
    """

    peer: str

    def known(self) -> dict[str, str]:
        """Return what is known, by name, for log lines."""
        return {name: value for name, value in asdict(self).items() if value is not None}

"""THE list of the dialects that providers speak, by their names."""

from service.dialects import twilio
from service.dialects.half import Dialect

_DIALECTS: tuple[Dialect, ...] = (twilio.DIALECT,)
PROVIDERS = {dialect.name: dialect for dialect in _DIALECTS}

"""Every dialect in which a provider calls, by its name: the last part of its path, /ws/NAME."""

from collections.abc import Mapping

from service.dialects import twilio
from service.dialects.half import Dialect

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (twilio.DIALECT,)}

"""Every dialect in which a provider calls, by its name: the last part of its path, /ws/NAME."""

from collections.abc import Mapping

from service.dialects import asterisk, freeswitch, jambonz, twilio, vonage
from service.dialects.half import Dialect

_ALL = (twilio.DIALECT, vonage.DIALECT, jambonz.DIALECT, freeswitch.DIALECT, asterisk.DIALECT)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}

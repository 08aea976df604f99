"""Every dialect in which a provider calls, by its name: the last part of its path, /ws/NAME."""

from collections.abc import Mapping

from service.dialects import asterisk, exotel, freeswitch, jambonz, plivo, telnyx, twilio, vonage
from service.dialects.half import Dialect

_ALL = (
    twilio.DIALECT,
    exotel.DIALECT,
    telnyx.DIALECT,
    plivo.DIALECT,
    vonage.DIALECT,
    jambonz.DIALECT,
    freeswitch.DIALECT,
    asterisk.DIALECT,
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}

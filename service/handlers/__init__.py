"""Who may be at the other end of a call: handlers, written by the user."""

from service.dialects.events import Digits, Mark, Message
from service.handlers.call import Call, HungUp

__all__ = ["Call", "Digits", "HungUp", "Mark", "Message"]

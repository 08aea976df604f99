"""How each kind of peer speaks: its messages to events and back, without I/O."""

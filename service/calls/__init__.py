"""What a call does, without a socket: terms, audio, ending."""

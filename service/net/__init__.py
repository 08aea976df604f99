"""Sockets: it knows connections, messages and endings, and nothing of audio."""

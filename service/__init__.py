"""rt-audio-pipeline: audio over WebSocket, in and back at once."""

__version__ = "0.1.0"

"""rt-audio-pipeline: audio over WebSocket, in and back at once."""

__version__ = "0.1.0"
#: The commit that an image was built from; the Containerfile writes it here.
__revision__ = "unknown"

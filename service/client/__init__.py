"""Our own client: dial, stream, probe, and try again."""

"""Our own client: dial, stream, and try again."""

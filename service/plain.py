"""A stranger's text, made safe for a log line or a terminal."""


def plain(text: str) -> str:
    """Return a stranger's text as one short line without control characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:300]

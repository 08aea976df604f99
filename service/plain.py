"""A stranger's text, made safe for a log line or a terminal."""

#: So many characters of a stranger's text are kept.
_MOST = 300


def plain(text: str) -> str:
    """Return the beginning of a stranger's text as one line without control characters."""
    text = text[:_MOST]
    if not text.isprintable():  # nearly every text is, and this runs for each upgrade
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())

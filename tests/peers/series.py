"""What a page of /metrics says."""


def series_of(page: str) -> dict[str, float]:
    """Return the value of each series on a page of /metrics."""
    rows = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in rows}

"""The reports of `rt-audio stream`, row by row."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.client.phone import PhoneReport
    from service.client.roundtrips import Report
    from service.client.twoway import Heard


def streamed(report: "Report", *, reconnect: bool) -> dict[str, str]:
    """Return the report of a stream; it is empty if nothing was sent."""
    if report.heard is not None:
        return _talk(report.heard, report.audio.seconds, codec=str(report.codec))
    return _figures(report, reconnect) if report.frames_sent else {}


def called(report: "PhoneReport") -> dict[str, str]:
    """Return the report of a fake telephone; it is empty if nothing was sent."""
    terms = f"{report.dialect}, {report.format.encoding} at {report.format.rate} Hz"
    talk = _talk(report.heard, report.audio.seconds, dialect=terms)
    return talk if report.heard.sent_seconds else {}


def _talk(heard: "Heard", seconds: float, **first: str) -> dict[str, str]:
    """Return how a two-way call went, row by row; so many seconds were heard."""
    rows = {
        **first,
        "sent": f"{heard.sent_seconds:.1f} s, then {heard.silence_seconds:.1f} s of silence",
        "heard": f"{seconds:.1f} s",
        "cleared": f"{heard.cleared_seconds:.1f} s in {heard.clears} clears",
        "marks": f"{heard.marks} heard",
        "messages": f"{heard.messages}",
    }
    if heard.skipped:
        rows["skipped"] = f"{len(heard.skipped)} messages; the first: {heard.skipped[0]}"
    return rows | {"ended": heard.ending}


def _figures(report: "Report", reconnect: bool) -> dict[str, str]:
    """Return the figures of the round trips, row by row."""
    codec = report.codec or "not said"
    if report.asked_for is not None and report.asked_for.lower() != report.codec:
        codec += f" (asked for: {report.asked_for})"
    times = (
        f"p50 {report.p50_ms:.2f}, p95 {report.p95_ms:.2f}, p99 {report.p99_ms:.2f}, "
        f"max {report.max_ms:.2f} ms"
    )
    rows = {
        "codec": codec,
        "frames": f"{report.frames_sent:,} sent, {report.frames_received:,} received",
        "bytes": f"{report.bytes_sent:,} sent, {report.bytes_received:,} received",
        "round trip": times if report.frames_received else "no reply came",
        "gaps": f"{report.gaps} over {2 * report.frame_ms:g} ms; "
        f"the longest pause was {report.longest_pause_ms:.1f} ms",
    }
    if report.warning is not None:
        rows["warning"] = report.warning
    if reconnect:
        longest = max(report.reconnects_ms, default=0.0)
        rows["reconnects"] = (
            f"{len(report.reconnects_ms)}; the longest took {longest:.1f} ms; "
            f"frames unanswered: {report.frames_unanswered}"
        )
    return rows

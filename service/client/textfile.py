"""A probe's result as metrics in a file, for the textfile collector of node_exporter."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from service.client.probe import Result


def write(path: Path, result: Result, now: float) -> None:
    """Write the file, or replace it at once, so that no reader sees half of it; raise OSError.

    `now` is the Unix time of the probe. What the probe did not come to has no series. README.md has
    the table of the metrics.
    """
    registry = CollectorRegistry()

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        name = f"rt_audio_probe_{name}"
        return Gauge(name, documentation, ["target", *labels], registry=registry)

    steps = gauge("step_seconds", "How long each step to the call took.", "step")
    for step, seconds in result.steps_seconds.items():
        steps.labels(result.target, step).set(seconds)
    for name, documentation, value in (
        ("success", "1 if the call was right to the bit.", result.failure is None),
        ("timestamp_seconds", "When the probe ended, in Unix time.", now),
        ("duration_seconds", "How long the probe took.", result.duration_seconds),
        ("round_trip_p50_seconds", "Median of the round trips.", result.round_trip_p50_seconds),
        ("round_trip_p99_seconds", "p99 of the round trips.", result.round_trip_p99_seconds),
        ("round_trip_max_seconds", "Longest round trip.", result.round_trip_max_seconds),
        ("frames_sent", "Frames sent.", result.frames_sent),
        ("frames_lost", "Frames sent that have no reply.", result.frames_lost),
    ):
        if value is not None:
            gauge(name, documentation).labels(result.target).set(value)
    write_to_textfile(str(path), registry)

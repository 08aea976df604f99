"""The Grafana dashboard as code.

    python deploy/grafana/dashboard.py

writes dashboards/rt-audio.json beside this file, which a test keeps in step. Every query selects
by namespace and pod; where neither label exists, as on a laptop, "All" matches its absence.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import (
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    ScaleDistribution,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT = Path(__file__).parent / "dashboards" / "rt-audio.json"

FRAME_SECONDS = 0.02
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WHERE = 'namespace=~"$namespace", pod=~"$pod"'
#: The process metrics have common names; the job tells whose they are, as in the alert rules.
OURS = f'job=~"(.+/)?rt-audio", {WHERE}'
#: On a plain host there is no pod; the instance is host and port.
PROCESS = "{{pod}} {{instance}}"

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel
Queries = dict[str, str]


def main() -> None:
    """Write the dashboard's JSON."""
    OUTPUT.write_text(rendered())


def rendered() -> str:
    """Return the dashboard as JSON."""
    board = (
        dashboard.Dashboard("rt-audio-pipeline")
        .uid("rt-audio")
        .description("Streams, their audio, how fast it comes back, how calls end, what they cost.")
        .tags(["rt-audio"])
        .time("now-1h", "now")
        .refresh("15s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
        .with_variable(labels("namespace", "rt_audio_build_info"))
        .with_variable(labels("pod", 'rt_audio_build_info{namespace=~"$namespace"}'))
    )
    number = 0
    for title, panels in ROWS.items():
        number += 1
        board.with_row(dashboard.Row(title).id(number))
        for panel in panels:
            number += 1
            board.with_panel(panel.id(number).datasource(SOURCE))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def labels(name: str, series: str) -> dashboard.QueryVariable:
    """Return the variable of a label's values, "All" from the start."""
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query({"qryType": 1, "query": f"label_values({series}, {name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def query(expression: str, legend: str) -> prometheus.Dataquery:
    """Return a query over the dashboard's time range."""
    return prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE).range()


def with_queries(panel: Panel, queries: Queries) -> None:
    """Give a panel its queries, named A, B, C and so on."""
    for ref, (legend, expression) in zip("ABCDEFG", queries.items(), strict=False):
        panel.with_target(query(expression, legend).ref_id(ref))


def steps(*rising: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return thresholds, each a value and the colour from there on; None is for the first."""
    marks = [Threshold(value=value, color=color) for value, color in rising]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(marks)


def number(title: str, description: str, expression: str, *rising: tuple[float, str]) -> Panel:
    """Return a small panel with one number, green until it reaches a threshold."""
    panel = stat.Panel().title(title).description(description).height(4).span(6)
    panel.unit(units.Number).thresholds(steps((None, "green"), *rising))
    panel.graph_mode(BigValueGraphMode.AREA)
    with_queries(panel, {title: expression})
    return panel


def curves(title: str, description: str, unit: str, queries: Queries) -> timeseries.Panel:
    """Return a panel over time, three of which fill a row."""
    panel = timeseries.Panel().title(title).description(description).height(8).span(8)
    panel.unit(unit).line_width(1).fill_opacity(8).show_points(VisibilityMode.NEVER)
    with_queries(panel, queries)
    return panel


def lines(title: str, description: str, unit: str, queries: Queries) -> timeseries.Panel:
    """Return a panel of lines from 0 up."""
    return curves(title, description, unit, queries).min(0)


def stacked(title: str, description: str, queries: Queries) -> timeseries.Panel:
    """Return a panel of rates, one on the other."""
    panel = lines(title, description, units.CountsPerSecond, queries).fill_opacity(40)
    return panel.stacking(options.StackingConfig().mode(StackingMode.NORMAL).group("A"))


def times(title: str, description: str, queries: Queries) -> timeseries.Panel:
    """Return a panel of times, on a logarithmic axis because they are from 1 us to 1 s."""
    scale = options.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
    return curves(title, description, units.Seconds, queries).scale_distribution(scale)


def marked(panel: timeseries.Panel, at: float) -> timeseries.Panel:
    """Return the panel with a dashed red line at a value that must not be passed."""
    dashed = options.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(steps((None, "green"), (at, "red"))).thresholds_style(dashed)


def rate(metric: str, by: str) -> str:
    """Return the expression of a counter's rate, summed by a label."""
    return f"sum by ({by}) (rate({metric}{{{WHERE}}}[$__rate_interval]))"


def quantile(share: float, metric: str, *by: str) -> str:
    """Return the expression of a histogram's quantile over all pods, apart by some labels."""
    buckets = rate(f"{metric}_bucket", ", ".join(("le", *by)))
    return f"histogram_quantile({share}, {buckets})"


def codec_times(direction: str) -> timeseries.Panel:
    """Return the panel of a codec's times, for encode or decode."""
    metric = f"rt_audio_{direction}_seconds"
    return times(
        f"Time to {direction} a frame, by codec",
        "Microseconds for 20 ms at 8 kHz. Bad: a rise at the same frame sizes, from a core that is "
        "shared or throttled; pure_python where audioop or numpy was meant.",
        {
            f"{{{{codec}}}} p{share * 100:g}": quantile(share, metric, "codec")
            for share in (0.5, 0.99)
        },
    ).span(12)


def frame_sizes() -> heatmap.Panel:
    """Return the heatmap of inbound frames by their size."""
    panel = heatmap.Panel().title("Frame sizes").height(8).span(8)
    panel.description(
        "Inbound frames by size, all encodings. 20 ms at 8 kHz are 320 bytes of PCM16 or 160 of "
        "G.711. Bad: a band of huge frames, which add latency; of tiny ones, each of which takes "
        "nearly the CPU of a full one."
    )
    panel.unit(units.BytesIEC).calculate(False)
    panel.y_axis(heatmap.YAxisConfig().unit(units.BytesIEC))
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    panel.color(colors)
    buckets = f"rt_audio_frame_size_bytes_bucket{{{WHERE}}}"
    sizes = query(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}")
    return panel.with_target(sizes.format(PromQueryFormat.HEATMAP).ref_id("A"))


def drain_state() -> statetimeline.Panel:
    """Return the panel of who drains when."""
    panel = statetimeline.Panel().title("Drain state").height(8).span(8)
    panel.description(
        "Each process: serving or draining. Bad: draining for longer than notice and drain time."
    )
    serving = ValueMappingResult(text="serving", color="green", index=0)
    draining = ValueMappingResult(text="draining", color="orange", index=1)
    panel.unit(units.Number).mappings([ValueMap(options={"0": serving, "1": draining})])
    with_queries(panel, {PROCESS: f"rt_audio_draining{{{WHERE}}}"})
    return panel


STREAMS = f"sum(rt_audio_sessions_active{{{WHERE}}})"
TURNAROUND = "rt_audio_frame_turnaround_seconds"
LAG = "rt_audio_event_loop_lag_seconds"
MEMORY = f"process_resident_memory_bytes{{{OURS}}}"
CPU = f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval])"
# fmt: off
ROWS: dict[str, list[Panel]] = {
    "On the line": [
        number("Streams now", "Sessions on the line, of all chosen pods. Bad: a sudden fall.",
               STREAMS),
        number("Room left", "Sessions that the pods that do not drain can still take. Bad: near 0, "
               "newcomers are about to be refused.",
               f"sum(rt_audio_max_sessions{{{WHERE}}} - rt_audio:sessions_active:serving)"),
        number("Draining", "Pods that are going away. Bad: above 0 when nobody deploys or scales.",
               f"sum(rt_audio_draining{{{WHERE}}})", (1, "orange")),
        number("Alerts", "Alerts of this service that fire. Bad: any; see the runbook.",
               'count(ALERTS{alertname=~"RtAudio.+", alertstate="firing"}) or vector(0)',
               (1, "red")),
        lines("Streams by process", "Sessions on the line, and the most that one may hold. Bad: "
              "one far above the others, which the balancer has to explain; near the limit.",
              units.Number,
              {PROCESS: f"rt_audio_sessions_active{{{WHERE}}}",
               "limit of one": f"max(rt_audio_max_sessions{{{WHERE}}})"}),
        stacked("Refused upgrades", "A second, by reason. Bad: at_capacity, add pods; draining for "
                "longer than a deploy, the balancer does not look at /ready; unauthorized or "
                "origin, a client is wrongly configured or is not welcome.",
                {"{{reason}}": rate("rt_audio_connections_refused_total", "reason")}),
        drain_state(),
    ],
    "Audio": [
        lines("Frames a second", "Accepted and answered. Bad: outbound below inbound, for then "
              "someone does not read.",
              units.CountsPerSecond, {"{{direction}}": rate("rt_audio_frames_total", "direction")}),
        lines("Seconds of audio a second", "How many streams are really talking, by their sample "
              "rates. Bad: far below the streams on the line, if your callers send silence too.",
              units.Number,
              {"{{direction}}": rate("rt_audio_audio_seconds_total", "direction")}),
        frame_sizes(),
    ],
    "Latency": [
        marked(times(
            "Turnaround of a frame", "From read off the socket to its reply handed to it, over all "
            "chosen pods. Bad: p99 above the line, one frame time of 20 ms.",
            {f"p{100 * share:g}": quantile(share, TURNAROUND) for share in (0.5, 0.99, 0.999)},
        ), FRAME_SECONDS),
        marked(times(
            "Turnaround p99 by process", "Over five minutes, what the alert looks at. Bad: one far "
            "above the others, which is its node or its callers.",
            {PROCESS: f"rt_audio:frame_turnaround_seconds:p99_5m{{{WHERE}}}"}), FRAME_SECONDS),
        marked(times(
            "Event loop lag", "How late the loop wakes a sleeper; each frame may wait as long "
            "before its turnaround begins. Bad: p99 above 10 ms; the alert fires at the line.",
            {"p50": quantile(0.5, LAG), "p99": quantile(0.99, LAG),
             f"p99 of {PROCESS}": f"rt_audio:event_loop_lag_seconds:p99_5m{{{WHERE}}}"},
        ), FRAME_SECONDS),
        codec_times("encode"),
        codec_times("decode"),
    ],
    "How calls end": [
        stacked("Sessions ended, by outcome", "A second. Good: completed, and drained in a deploy. "
                "Bad: stuck, rejected, any error; aborted, if it rises by itself.",
                {"{{outcome}}": rate("rt_audio_sessions_total", "outcome")}),
        stacked("Refused messages, by rule", "A second; each ended its session. Bad: any that "
                "lasts; it is a client's bug.",
                {"{{reason}}": rate("rt_audio_frames_rejected_total", "reason")}),
        stacked("Close codes of peers", "A second, of sessions that the peer closed. Bad: 1002 to "
                "1011, by which it says that it did not like something.",
                {"{{code}}": rate("rt_audio_peer_closes_total", "code")}),
    ],
    "What a stream costs": [
        lines("Memory a stream", "Resident memory over streams, base included, so it falls as "
              "streams come. Bad: a rise at a steady number of streams.",
              units.BytesIEC, {"a stream": f"sum({MEMORY}) / ({STREAMS} > 0)"}),
        lines("CPU a stream", "Share of a core. Bad: a rise at the same frames a second; at 1 over "
              "the streams of a pod its core is full.",
              units.PercentUnit, {"a stream": f"sum({CPU}) / ({STREAMS} > 0)"}),
        stacked("Sessions with another codec than asked for", "A second, by the codec they got. "
                "Bad: pure_python, which takes three to four times the CPU.",
                {"{{codec}}": rate("rt_audio_codec_fallbacks_total", "codec")}),
        lines("Memory by process", "Bad: a rise that does not end; near the container's limit.",
              units.BytesIEC, {PROCESS: MEMORY}).span(12),
        marked(lines("CPU by process", "One process uses one core. Bad: near the line, where the "
                     "core is full; count on 60 % of it.",
                     units.PercentUnit, {PROCESS: CPU}).span(12), 1),
    ],
}
# fmt: on


if __name__ == "__main__":
    main()

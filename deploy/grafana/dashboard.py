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
    table,
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
    DataTransformerConfig,
    DynamicConfigValue,
    MatcherConfig,
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

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel | table.Panel
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


def number(title: str, description: str, expression: str, *rising: tuple[float, str]) -> stat.Panel:
    """Return a small panel with one number, green until it reaches a threshold."""
    panel = stat.Panel().title(title).description(description).height(4).span(4)
    panel.unit(units.Number).thresholds(steps((None, "green"), *rising))
    panel.graph_mode(BigValueGraphMode.AREA)
    with_queries(panel, {title: expression})
    return panel


def share_left(title: str, description: str, expression: str, few: float, none: float) -> Panel:
    """Return a small panel with a share of what there is: orange below `few`, red below `none`."""
    panel = number(title, description, expression).unit(units.PercentUnit).max(1)
    return panel.thresholds(steps((None, "red"), (none, "orange"), (few, "green")))


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


def per_second(metric: str) -> str:
    """Return the expression of a counter's rate, of each process by itself."""
    return f"rate({metric}{{{WHERE}}}[$__rate_interval])"


def rate(metric: str, by: str) -> str:
    """Return the expression of a counter's rate, summed by a label."""
    return f"sum by ({by}) ({per_second(metric)})"


def by_dialect(title: str, description: str, metric: str, *labels: str) -> timeseries.Panel:
    """Return a panel of a counter's rates, by provider's dialect and these labels.

    Most of its series are always 0. The legend leaves those out.
    """
    by = ("dialect", *labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    counts = f'{metric}{{{WHERE}, dialect!~"raw|none"}}'
    expression = f"sum by ({', '.join(by)}) (rate({counts}[$__rate_interval]))"
    panel = stacked(title, description, {legend: expression}).span(12)
    always_0 = MatcherConfig(id_val="byValue", options={"reducer": "allIsZero"})
    hidden = {"viz": False, "legend": True, "tooltip": True}
    return panel.with_override(
        always_0, [DynamicConfigValue(id_val="custom.hideFrom", value=hidden)]
    )


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


def firing_alerts() -> table.Panel:
    """Return the table of the alerts that fire, each by its name and by what it is about."""
    panel = table.Panel().title("Alerts that fire").height(8).span(12)
    panel.description(
        "Each with what it is about; deploy/README.md has its section in the runbook. Empty: none "
        "fires. Bad: any; critical, callers hear it now."
    )
    # A table of labels: the time, the value and what is the same in each row are left out.
    hidden = ("Time", "Value", "Value #A", "__name__", "alertstate")
    panel.unit(units.NoUnit).with_transformation(
        DataTransformerConfig(
            id_val="organize", options={"excludeByName": dict.fromkeys(hidden, True)}
        )
    )
    alerts = query('ALERTS{alertname=~"RtAudio.+", alertstate="firing"}', "")
    alerts.format(PromQueryFormat.TABLE).instant()
    return panel.with_target(alerts.ref_id("A"))


STREAMS = f"sum(rt_audio_sessions_active{{{WHERE}}})"
TURNAROUND = "rt_audio_frame_turnaround_seconds"
LAG = "rt_audio_event_loop_lag_seconds"
QUEUE = "rt_audio_queue_seconds"
RESTARTS = f"changes(process_start_time_seconds{{{OURS}}}"
DURATION = "rt_audio_session_duration_seconds"
EXPIRY = f"rt_audio_certificate_expiry_timestamp_seconds{{{WHERE}}}"
DAY = 24 * 3600
#: What is known of a service as a whole has no pod.
WHOLE = 'namespace=~"$namespace"'
MEMORY = f"process_resident_memory_bytes{{{OURS}}}"
CPU = f"rate(process_cpu_seconds_total{{{OURS}}}[$__rate_interval])"
# fmt: off
ROWS: dict[str, list[Panel]] = {
    "On the line": [
        number("Streams now", "Sessions on the line, of all chosen pods. Bad: a sudden fall.",
               STREAMS),
        share_left("Room left", "Share of the sessions that the pods that do not drain can still "
                   "take. Bad: red, below a tenth: newcomers are about to be refused.",
                   f"1 - sum(rt_audio:sessions_active:serving{{{WHERE}}}) / "
                   f"sum(rt_audio_max_sessions{{{WHERE}}} unless rt_audio_draining == 1)",
                   few=0.2, none=0.1),
        number("Processes", "Processes that answer. Bad: fewer than you run.",
               f"sum(up{{{OURS}}})"),
        number("Processes down", "Processes that Prometheus knows and that do not answer. "
               "Bad: any.",
               f"count(up{{{OURS}}}) - sum(up{{{OURS}}})", (1, "red")),
        number("Taking no newcomers", "Processes that drain or are full. Bad: above 0 when nobody "
               "deploys, scales or drains.",
               f"count(rt_audio_accepting{{{WHERE}}}) - sum(rt_audio_accepting{{{WHERE}}})",
               (1, "orange")),
        number("Restarts", "Processes that began anew in an hour. Bad: any that is no deploy of "
               "yours: its calls were cut.", f"sum({RESTARTS}[1h]))", (1, "orange"), (2, "red")),
        firing_alerts(),
        stacked("Calls begun and refused", "A second, the refused by reason. Bad: none begun; "
                "at_capacity, add pods; draining for longer than a deploy, the balancer does not "
                "look at /ready; unauthorized or origin, a client is wrongly configured or not "
                "welcome; not_found or bad_handshake, a wrong URL or proxy; too_many, the limit of "
                "one caller.",
                {"begun": f"sum({per_second('rt_audio_sessions_started_total')})",
                 "{{reason}}": rate("rt_audio_connections_refused_total", "reason")}).span(12),
        lines("Streams by process", "Sessions on the line, and the most that one may hold. Bad: "
              "one far above the others, which the balancer has to explain; near the limit.",
              units.Number,
              {PROCESS: f"rt_audio_sessions_active{{{WHERE}}}",
               "limit of one": f"max(rt_audio_max_sessions{{{WHERE}}})"}).span(12),
        lines("Streams by token", "Sessions on the line of each token that has a name in the "
              "tokens file. Bad: one far above what its owner is to have.",
              units.Number,
              {"{{token}}": f"sum by (token) (rt_audio_token_sessions_active{{{WHERE}}})"},
              ).span(12),
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
        times("How long calls are", "Of those that ended. Bad: a p50 that falls to seconds: calls "
              "are cut, or begin without a use.",
              {f"p{share * 100:g}": quantile(share, DURATION) for share in (0.1, 0.5, 0.9, 0.99)},
              ).span(12),
        marked(lines("Calls failed", "Share of the calls that were lost, refused for want of room "
                     "or in a drain, or ended by a bug; the objective is 0.5 % in the long run. "
                     "Bad: above the line, 14.4 times that, which wakes somebody.",
                     units.PercentUnit,
                     {"of 5 minutes, {{job}}": f"rt_audio:calls_failed:ratio5m{{{WHOLE}}}",
                      "of an hour": f"rt_audio:calls_failed:ratio1h{{{WHOLE}}}"},
                     ), 14.4 * 0.005).span(12),
    ],
    "Calls with a handler": [
        times("Audio that waits", "For a handler to hear it, and to be played; empty without a "
              "handler. Bad: inbound near 2 s, where a caller is paused or loses audio.",
              {"{{direction}} p50": quantile(0.5, QUEUE, "direction"),
               "{{direction}} p99": quantile(0.99, QUEUE, "direction")}),
        times("Jitter of inbound frames", "How much earlier or later than due a frame comes. Bad: "
              "a p99 that rises by itself; it is the callers' network.",
              {f"p{100 * share:g}": quantile(share, "rt_audio_interarrival_jitter_seconds")
               for share in (0.5, 0.99)}),
        times("From clear to silence", "How long callers hear a handler that they have "
              "interrupted, without their own buffers. Bad: p99 above two frame times.",
              {f"p{100 * share:g}": quantile(share, "rt_audio_clear_seconds")
               for share in (0.5, 0.99)}),
        stacked("Frames dropped", "A second. Bad: live, a handler is too slow for its callers; "
                "unheard are calls whose handler does not listen, as an announcement.",
                {"{{reason}}": rate("rt_audio_frames_dropped_total", "reason")}).span(12),
        stacked("Handlers' errors and underruns", "A second. Bad: errors, each a bug that cut a "
                "call; underruns, a voice that is generated more slowly than it speaks.",
                {"errors": f"sum({per_second('rt_audio_handler_errors_total')})",
                 "underruns": f"sum({per_second('rt_audio_underruns_total')})"}).span(12),
    ],
    "Telephony": [
        by_dialect("Provider calls begun", "A second, by dialect; /ws/audio is not here. Bad: a "
                   "sudden fall of one; none of a provider that you use, whose calls then do not "
                   "get here.", "rt_audio_sessions_started_total"),
        by_dialect("Provider calls ended", "A second, by dialect and outcome. Bad: rejected, the "
                   "provider or its settings broke a rule; idle, nothing was sent; aborted or "
                   "stuck of one dialect alone, its provider or the way to it.",
                   "rt_audio_sessions_total", "outcome"),
        by_dialect("Provider calls refused", "A second, by dialect and reason. Bad: unauthorized, "
                   "another secret there than here, or another public URL.",
                   "rt_audio_connections_refused_total", "reason"),
        by_dialect("Dialect errors", "Messages a second that broke the rules of their dialect, by "
                   "reason; README.md tells of each. Bad: any that lasts; unknown_event is an "
                   "event that the provider has added, lost is its network.",
                   "rt_audio_dialect_errors_total", "reason"),
    ],
    "The synthetic caller": [
        lines("Synthetic calls", "1 where the last call of rt-audio probe was right to the bit. "
              "Bad: 0.",
              units.Number, {"{{target}} from {{instance}}": "rt_audio_probe_success"}).max(1),
        times("Its round trips", "Of one call of a hundred frames. Bad: p99 above a frame time "
              "beyond what the network takes.",
              {"p50 {{target}}": "rt_audio_probe_round_trip_p50_seconds",
               "p99 {{target}}": "rt_audio_probe_round_trip_p99_seconds"}),
        times("Its way to the call", "The name's look-up, TCP, TLS, the upgrade. Bad: a step that "
              "became slow; an upgrade takes a few milliseconds.",
              {"{{step}} {{target}}": "rt_audio_probe_step_seconds"}),
    ],
    "The processes": [
        drain_state(),
        lines("Versions", "Processes of each version. Bad: two for longer than a rollout.",
              units.Number,
              {"{{version}} {{revision}}":
               f"count by (version, revision) (rt_audio_build_info{{{WHERE}}})"}),
        lines("Restarts by process", "In 15 minutes. Bad: two, which fires an alert.",
              units.Number,
              {PROCESS: f"{RESTARTS}[15m])"}),
        marked(lines("Open files", "Share of the file descriptors that a process may have. Bad: "
                     "near the line, the quarter that is kept for probes and newcomers.",
                     units.PercentUnit,
                     {PROCESS: f"process_open_fds{{{OURS}}} / process_max_fds{{{OURS}}}"}), 0.75),
        curves("Certificates expire in", "Nothing without TLS. Bad: less than a week; falling for "
               "longer than your renewals take.",
               units.Seconds, {PROCESS: f"{EXPIRY} - time()"}),
        stacked("Reloads", "A second, of tokens, secrets and certificate. Bad: failed; the "
                "old ones stay.",
                {"{{outcome}}": rate("rt_audio_reloads_total", "outcome")}),
        marked(lines("Event loop stalled", "Share of the time in which the loop stands still for "
                     "more than a frame time; all callers of the process hear nothing then. Bad: "
                     "above the line.",
                     units.PercentUnit,
                     {PROCESS: per_second("rt_audio_event_loop_stalled_seconds_total")}), 0.05),
        lines("Log lines dropped", "A second, because nobody reads them fast enough. Bad: any; "
              "they are lost.",
              units.CountsPerSecond,
              {PROCESS: per_second("rt_audio_log_lines_dropped_total")}),
        stacked("Failed TLS handshakes", "A second, by reason. Bad: certificate, clients reject "
                "ours; not_tls, a probe or proxy without TLS; lost may be a balancer's TCP check.",
                {"{{reason}}": rate("rt_audio_tls_handshake_failures_total", "reason")}),
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

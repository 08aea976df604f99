/** The service itself: /metrics, read each second, seen or not, and drawn. */

import { seconds } from "./call/measured.js";
import { Series } from "./draw/rings.js";
import { Stage } from "./draw/stage.js";
import { Timeline } from "./draw/timeline.js";
import { byId, digits, show } from "./page.js";
import { byLabel, parse, quantile, total } from "./prometheus.js";
import { fetchMetrics } from "./server.js";

const PERIOD_MS = 1000;
const WINDOW_PAGES = 6; // quantiles are of the last five seconds
const LONGEST_STEP_SECONDS = 3; // between readings that a line may join
const HISTORY_SECONDS = 60;
const GONE = "No answer from /metrics";
const TURNAROUND = "rt_audio_frame_turnaround_seconds";
/** @type {Record<string, Colour>} */
const CODECS = { audioop: "sent", numpy: "received", pure_python: "error" };
const NAMES = ["streams", "in", "out", "turnaround50", "turnaround99", "refused", "lag"];

/** @param {number} value */
const took = (value) =>
  value < 1e-3 ? `${digits(value * 1e6)} \u00b5s` : `${digits(value * 1e3)} ms`;
/** @param {number} value */
const time = (value) =>
  value < 1e-3
    ? `${+(value * 1e6).toPrecision(1)} \u00b5s`
    : value < 1
      ? `${+(value * 1e3).toPrecision(1)} ms`
      : `${value} s`;

/** @param {Page} page */
const began = (page) => total(page, "process_start_time_seconds");

export class ServiceView {
  constructor() {
    const names = [
      ...NAMES,
      ...Object.keys(CODECS).flatMap((codec) => [`${codec}50`, `${codec}99`]),
    ];
    this.series = Object.fromEntries(names.map((name) => [name, new Series(2 * HISTORY_SECONDS)]));
    /** @type {Reading[]} */
    this.pages = [];
    this.at = seconds(); // of the last reading, answered or not
    this.stage = new Stage();
    for (const [id, timeline] of Object.entries(this.timelines())) {
      this.stage.add(byId(id), timeline.draw.bind(timeline));
    }
  }

  timelines() {
    const across = { clock: () => this.at, seconds: HISTORY_SECONDS };
    const linear = {
      ...across,
      low: 0,
      format: (/** @type {number} */ value) =>
        value < 1000 ? String(+value.toFixed(2)) : `${value / 1000}k`,
    };
    const log = { ...across, log: true, format: time };
    /**
     * @param {string} name
     * @param {Colour} colour
     * @param {Partial<Line>} [more]
     */
    const line = (name, colour, more) => ({ series: this.series[name], colour, ...more });
    /** @type {Reference} */
    const frame = { value: 0.02, label: "20 ms", colour: "warn" };
    return {
      "c-streams": new Timeline({
        ...linear,
        high: 4,
        lines: () => [line("streams", "sent", { filled: true })],
      }),
      "c-frames": new Timeline({
        ...linear,
        high: 40,
        lines: () => [
          line("out", "received", { width: 3.5 }),
          line("in", "sent", { filled: true }),
        ],
      }),
      "c-turnaround": new Timeline({
        ...log,
        low: 1e-5,
        high: 1,
        levels: () => [frame],
        lines: () => [line("turnaround50", "sent"), line("turnaround99", "sent", { dashed: true })],
      }),
      "c-encode": new Timeline({
        ...log,
        low: 1e-7,
        high: 1e-2,
        lines: () =>
          Object.entries(CODECS).flatMap(([codec, colour]) => [
            line(`${codec}50`, colour),
            line(`${codec}99`, colour, { dashed: true }),
          ]),
      }),
      "c-refused": new Timeline({
        ...linear,
        high: 4,
        lines: () => [line("refused", "bad", { filled: true })],
      }),
      "c-lag": new Timeline({
        ...log,
        low: 1e-4,
        high: 1,
        levels: () => [frame],
        lines: () => [line("lag", "good")],
      }),
    };
  }

  /** Read each second from now on. */
  start() {
    this.read();
    setInterval(() => this.read(), PERIOD_MS);
  }

  /** Read /metrics once, and add to the series what it says, or that there was no answer. */
  async read() {
    if (this.reading) return;
    this.reading = true;
    const at = seconds(); // before the answer, which may be late
    const text = await fetchMetrics();
    this.reading = false;
    this.at = at;
    if (text === null) this.miss(at);
    else this.take(at, parse(text));
    byId("view-service").dataset.gone = String(text === null);
    this.stage.refresh();
  }

  /**
   * @param {number} at
   * @param {Page} page
   */
  take(at, page) {
    const before = this.pages.at(-1);
    const restarted = before && began(page) !== began(before.page);
    // A browser slows down the timers of a hidden page.
    if (restarted || (before && at - before.at > LONGEST_STEP_SECONDS)) this.interrupt(before.at);
    const now = { at, page };
    this.pages.push(now);
    if (this.pages.length > WINDOW_PAGES) this.pages.shift();
    this.measure(now, this.pages.at(-2), this.pages[0]);
    this.state(page);
  }

  /** @param {number} at */
  miss(at) {
    this.interrupt(at);
    show("own", "\u2013");
    this.say("bad", GONE, "The service is gone or cannot be reached; reading goes on.");
  }

  /**
   * Interrupt all lines and rates at a time without readings.
   * @param {number} at
   */
  interrupt(at) {
    this.pages = [];
    for (const series of Object.values(this.series)) series.add(at, NaN);
  }

  /**
   * Add to the series: rates since the page before, quantiles since the oldest page.
   * @param {Reading} now
   * @param {Reading | undefined} before
   * @param {Reading} oldest
   */
  measure({ at, page }, before, oldest) {
    /**
     * @param {string} name
     * @param {number} value
     */
    const add = (name, value) => this.series[name].add(at, value);
    /**
     * @param {string} name
     * @param {string} [having]
     */
    const rate = (name, having) =>
      before
        ? (total(page, name, having) - total(before.page, name, having)) / (at - before.at)
        : NaN;
    /**
     * @param {string} name
     * @param {string} having
     * @param {number} share
     */
    const between = (name, having, share) => quantile(oldest.page, page, name, having, share);
    add("streams", total(page, "rt_audio_sessions_active"));
    add("in", rate("rt_audio_frames_total", 'direction="inbound"'));
    add("out", rate("rt_audio_frames_total", 'direction="outbound"'));
    add("refused", rate("rt_audio_connections_refused_total"));
    add("turnaround50", between(TURNAROUND, "", 0.5));
    add("turnaround99", between(TURNAROUND, "", 0.99));
    add("lag", between("rt_audio_event_loop_lag_seconds", "", 0.99));
    for (const codec of Object.keys(CODECS)) {
      add(`${codec}50`, between("rt_audio_encode_seconds", `codec="${codec}"`, 0.5));
      add(`${codec}99`, between("rt_audio_encode_seconds", `codec="${codec}"`, 0.99));
    }
    this.own(page, oldest.page);
    this.figures(page, rate("process_cpu_seconds_total"));
  }

  /**
   * Show the service's mean turnaround beside the round trips of the call.
   * @param {Page} page
   * @param {Page} oldest
   */
  own(page, oldest) {
    /** @param {string} name */
    const since = (name) => total(page, name) - total(oldest, name);
    const mean = since(`${TURNAROUND}_sum`) / since(`${TURNAROUND}_count`);
    show("own", digits(1000 * mean), Number.isFinite(mean) ? "ms" : "");
  }

  /**
   * @param {Page} page
   * @param {number} cores
   */
  figures(page, cores) {
    /** @param {string} name */
    const last = (name) => this.series[name].last;
    show("v-streams", String(last("streams")), `of ${total(page, "rt_audio_max_sessions")}`);
    show("v-frames", digits(last("in")), `in, ${digits(last("out"))} out`);
    show("v-turnaround", took(last("turnaround50")), `p50, ${took(last("turnaround99"))} p99`);
    const encodes = Object.keys(CODECS).filter((codec) => Number.isFinite(last(`${codec}50`)));
    byId("v-encode").textContent = encodes.length
      ? encodes
          .map(
            (codec) => `${codec} ${took(last(`${codec}50`))} p50, ${took(last(`${codec}99`))} p99`,
          )
          .join(" \u00b7 ")
      : "Nothing is encoded just now.";
    const reasons = byLabel(page, "rt_audio_connections_refused_total", "reason");
    show("v-refused", String(total(page, "rt_audio_connections_refused_total")));
    byId("v-reasons").textContent =
      [...reasons]
        .filter(([, count]) => count)
        .map(([reason, count]) => `${reason} ${count}`)
        .join(" \u00b7 ") || "None since the start.";
    show("v-lag", Number.isFinite(last("lag")) ? digits(last("lag") * 1000) : "\u2013", "ms");
    const memory = total(page, "process_resident_memory_bytes") / 2 ** 20;
    byId("v-process").textContent =
      `${memory.toFixed(0)} MiB resident` +
      (Number.isFinite(cores) ? ` \u00b7 ${(100 * cores).toFixed(0)} % of a core` : "");
    this.tallies(byLabel(page, "rt_audio_sessions_total", "outcome"));
  }

  /** @param {Map<string, number>} outcomes */
  tallies(outcomes) {
    const rows = [...outcomes].map(([outcome, count]) => {
      const row = document.createElement("div");
      for (const [tag, text] of [
        ["dt", outcome],
        ["dd", count.toLocaleString("en")],
      ]) {
        row.append(Object.assign(document.createElement(tag), { textContent: text }));
      }
      return row;
    });
    byId("v-ended").replaceChildren(...rows);
  }

  /** @param {Page} page */
  state(page) {
    const full = total(page, "rt_audio_sessions_active") >= total(page, "rt_audio_max_sessions");
    if (total(page, "rt_audio_draining"))
      this.say(
        "warn",
        "Draining",
        "The service is going away: calls may finish, newcomers are refused.",
      );
    else if (full) this.say("warn", "Full", "Newcomers are refused until a call ends.");
    else this.say("live", "Taking calls", "");
  }

  /**
   * @param {string} state
   * @param {string} title
   * @param {string} more
   */
  say(state, title, more) {
    const element = byId("service-state");
    if (element.dataset.title === title) return;
    Object.assign(element.dataset, { state, title });
    const strong = Object.assign(document.createElement("strong"), { textContent: title });
    element.replaceChildren(strong, more ? ` \u2013 ${more}` : "");
  }
}

/** The pictures of a call: which plot draws what. */

import { MARKS, seconds } from "./call/measured.js";
import { Meters } from "./draw/meters.js";
import { Spectrum } from "./draw/spectrum.js";
import { Stage } from "./draw/stage.js";
import { Timeline } from "./draw/timeline.js";
import { Waveform } from "./draw/waveform.js";
import { byId } from "./page.js";
import { Readouts, WINDOW_SECONDS } from "./readouts.js";

const READOUT_MS = 250;
const SLOW_MS = 45; // ten seconds across a plot are a pixel each 20 ms or so
const FRAME_TIME_MS = 20;

export class CallView {
  /**
   * `targetMs` is the jitter buffer's aim before the first call.
   * @param {number} targetMs
   */
  constructor(targetMs) {
    this.targetMs = targetMs;
    this.stage = new Stage();
    this.readouts = new Readouts();
    this.waveform = new Waveform();
    this.spectrum = new Spectrum();
    /** @type {Measured | null} */
    this.measured = null;
    this.meters = new Meters();
    /** @type {number | null} */
    this.stoppedAt = seconds();
    this.held = false;
    this.began = 0;
    const clock = () => this.stoppedAt ?? seconds();
    this.stage.add(byId("scope"), this.waveform.draw.bind(this.waveform));
    this.stage.add(byId("meters"), (context, width, height) =>
      this.meters.draw(context, width, height),
    );
    this.stage.add(byId("spectrum"), this.spectrum.draw.bind(this.spectrum), SLOW_MS);
    this.timelines = this.makeTimelines(clock);
    for (const [id, timeline] of Object.entries(this.timelines)) {
      this.stage.add(byId(id), timeline.draw.bind(timeline), SLOW_MS);
    }
    const span = /** @type {HTMLSelectElement} */ (byId("span"));
    span.addEventListener("change", () => {
      this.waveform.spanSeconds = Number(span.value);
      this.stage.refresh();
    });
    byId("hold").addEventListener("click", () => this.hold(!this.held));
  }

  /** @param {() => number} clock */
  makeTimelines(clock) {
    const across = { clock, seconds: WINDOW_SECONDS };
    return {
      round: new Timeline({
        ...across,
        log: true,
        low: 0.1,
        high: 1000,
        format: (value) => (value < 1000 ? `${value} ms` : "1 s"),
        lines: () => this.line("roundTrip", "sent", { width: 1 }),
        levels: () => this.roundTripLevels(),
        markColours: ["warn", "bad"],
      }),
      ratio: new Timeline({
        ...across,
        low: 0,
        high: 48,
        format: String,
        lines: () => this.line("ratio", "error"),
        levels: () => [
          { value: this.measured?.snr ?? NaN, label: "call", colour: "ink", dashed: true },
        ],
      }),
      "depth-plot": new Timeline({
        ...across,
        low: 0,
        high: 80,
        format: (value) => value.toFixed(0),
        lines: () => this.line("depth", "good", { filled: true }),
        levels: () => [{ value: this.targetMs, label: "aim", colour: "muted", dashed: true }],
        markColours: { [MARKS.underrun]: "bad" },
      }),
    };
  }

  /**
   * @param {"roundTrip" | "ratio" | "depth"} name
   * @param {Colour} colour
   * @param {Partial<Line>} [more]
   */
  line(name, colour, more = {}) {
    return this.measured ? [{ series: this.measured[name], colour, ...more }] : [];
  }

  /** @returns {Reference[]} */
  roundTripLevels() {
    const [p50, p95, p99] = this.readouts.percentiles;
    return [
      { value: FRAME_TIME_MS, label: "20 ms", colour: "warn" },
      { value: p50, label: "p50", colour: "good", dashed: true },
      { value: p95, label: "p95", colour: "muted", dashed: true },
      { value: p99, label: "p99", colour: "ink", dashed: true },
    ];
  }

  /**
   * Show a call that begins now.
   * @param {Call} call
   */
  begin(call) {
    const { measured, settings } = call;
    if (measured !== this.measured) this.began = seconds();
    this.measured = measured;
    this.meters = measured.meters;
    this.stoppedAt = null;
    this.waveform.attach(measured.rings, (settings.rate * settings.frameMs) / 1000);
    this.spectrum.attach(measured.rings);
    this.timelines.round.marks = measured.frameMarks;
    this.timelines["depth-plot"].marks = measured.depthMarks;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.update(measured), READOUT_MS);
    this.update(measured);
    this.hold(false);
  }

  /**
   * Draw the difference to what was sent, which only the echo has, or leave it out.
   * @param {boolean} handler
   */
  show(handler) {
    this.waveform.names = handler ? ["sent", "received"] : ["sent", "received", "error"];
    this.spectrum.names = handler ? ["received", "sent"] : ["error", "received", "sent"];
    this.stage.refresh();
  }

  /** Leave the last pictures standing. */
  finish() {
    if (this.stoppedAt !== null || !this.measured) return;
    clearInterval(this.timer);
    this.update(this.measured);
    this.stoppedAt = seconds();
    this.hold(false);
    this.stage.run(false);
  }

  /** @param {Measured} measured */
  update(measured) {
    this.readouts.update(measured, this.began);
    byId("ratio-note").textContent = note(measured);
  }

  /**
   * Have the pictures stand still, though the call goes on.
   * @param {boolean} held
   */
  hold(held) {
    this.held = held;
    byId("hold").setAttribute("aria-pressed", String(held));
    this.stage.run(this.stoppedAt === null && !held);
  }
}

/**
 * Return what the ratio's plot cannot show by itself.
 * @param {Measured} measured
 */
function note({ exact, untouched }) {
  if (exact) return "bit-exact: no error to draw";
  return untouched ? "the bytes came back untouched; the error is the encoding's" : "";
}

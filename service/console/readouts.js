/** The figures of a call, as text: a few times a second, and only what has changed. */

import { seconds } from "./call/measured.js";
import { quantiles } from "./draw/rings.js";
import { byId, digits, show } from "./page.js";

export const WINDOW_SECONDS = 10; // what the plots show, and what the percentiles are of
const SHARES = [0.5, 0.95, 0.99];

/**
 * Return the signal-to-noise ratio, or words where there is no number for it.
 * @param {Measured} measured
 */
function ratio({ exact, snr, noise }) {
  if (exact) return ["bit-exact", ""];
  if (noise === 0 && !Number.isNaN(snr)) return ["no error", ""];
  return [digits(snr), Number.isFinite(snr) ? "dB" : ""];
}

export class Readouts {
  constructor() {
    this.scratch = new Float64Array(2048);
    this.percentiles = [NaN, NaN, NaN];
  }

  /**
   * Show a call's figures; `began` is the time at which the call was connected.
   * @param {Measured} measured
   * @param {number} began
   */
  update(measured, began) {
    const since = seconds() - WINDOW_SECONDS;
    this.percentiles = quantiles(measured.roundTrip, since, SHARES, this.scratch);
    ["p50", "p95", "p99"].forEach((id, at) => {
      const value = this.percentiles[at];
      show(id, digits(value), Number.isFinite(value) ? "ms" : "", value > 20 ? "warn" : "");
    });
    const [value, unit] = ratio(measured);
    show("snr", value, unit, measured.exact ? "good" : "");
    show("frames", measured.frames.toLocaleString("en"));
    show("gaps", String(measured.gaps), "", measured.gaps ? "warn" : "");
    show("lost", String(measured.lost), "", measured.lost ? "bad" : "");
    show("dry", String(measured.underruns), "", measured.underruns ? "bad" : "");
    show("heard", digits(measured.heardSeconds), "s");
    show("clears", String(measured.clears));
    const depth = measured.depth.last;
    byId("depth").textContent = Number.isFinite(depth) ? `${depth.toFixed(0)} ms` : "\u2013";
    show("clock", clock(seconds() - began));
    this.levels(measured.meters);
    // For programs that read the page: both values are of the same moment.
    Object.assign(byId("readouts").dataset, { frames: measured.frames, snr: measured.snr });
  }

  /** @param {Meters} meters */
  levels(meters) {
    for (const name of /** @type {const} */ (["sent", "received"])) {
      const value = Math.round(meters[name].rms);
      const element = byId(`level-${name}`);
      element.setAttribute("aria-valuenow", String(value));
      element.setAttribute("aria-valuetext", `${value} decibels`);
    }
  }
}

/** @param {number} passed */
function clock(passed) {
  const whole = Math.floor(passed);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

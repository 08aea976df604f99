/** The level meters: peak and RMS of both directions, in dB below full scale. */

import { theme } from "./stage.js";

const FLOOR_DB = -60;
const FALL_DB_PER_SECOND = 24;
const HOLD_MS = 1500;
const RMS_SECONDS = 0.3;
const TICKS_DB = [0, -6, -12, -24, -36, -48, -60];
const MARGIN = { top: 8, bottom: 16, right: 22 };

/** @param {number} amplitude */
export const decibels = (amplitude) => 20 * Math.log10(amplitude + 1e-9);

class Level {
  constructor() {
    this.peak = this.rms = this.hold = FLOOR_DB;
    this.square = 0;
    this.heldAt = 0;
  }

  /**
   * Take in a frame of samples (Int16Array) that lasts so many seconds.
   * @param {Int16Array} frame
   * @param {number} seconds
   */
  take(frame, seconds) {
    let most = 0;
    let sum = 0;
    for (let i = 0; i < frame.length; i++) {
      most = Math.max(most, Math.abs(frame[i]));
      sum += frame[i] * frame[i];
    }
    const weight = 1 - Math.exp(-seconds / RMS_SECONDS);
    this.square += weight * (sum / frame.length / 32768 ** 2 - this.square);
    this.rms = Math.max(FLOOR_DB, decibels(Math.sqrt(this.square)));
    this.peak = Math.max(
      this.peak - FALL_DB_PER_SECOND * seconds,
      FLOOR_DB,
      decibels(most / 32768),
    );
    const now = performance.now();
    if (this.peak >= this.hold || now - this.heldAt > HOLD_MS) {
      this.hold = this.peak;
      this.heldAt = now;
    }
  }
}

export class Meters {
  constructor() {
    this.sent = new Level();
    this.received = new Level();
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    const plot = height - MARGIN.top - MARGIN.bottom;
    /** @param {number} db */
    const y = (db) => MARGIN.top + (plot * Math.max(FLOOR_DB, Math.min(0, db))) / FLOOR_DB;
    const bar = (width - MARGIN.right - 6) / 2;
    /** @type {const} */ (["sent", "received"]).forEach((name, at) => {
      drawBar(context, this[name], name, at * (bar + 4), bar, y);
      context.fillStyle = theme.muted;
      context.textAlign = "center";
      context.textBaseline = "alphabetic";
      context.fillText(name === "sent" ? "out" : "in", at * (bar + 4) + bar / 2, height - 3);
    });
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const db of TICKS_DB) context.fillText(String(-db), width, y(db));
  }
}

/**
 * @param {Pen} context
 * @param {Level} level
 * @param {"sent" | "received"} name
 * @param {number} x
 * @param {number} width
 * @param {Scale} y
 */
function drawBar(context, level, name, x, width, y) {
  context.fillStyle = theme.grid;
  context.fillRect(x, y(0), width, y(FLOOR_DB) - y(0));
  context.fillStyle = theme[name];
  context.globalAlpha = 0.45;
  context.fillRect(x, y(level.peak), width, y(FLOOR_DB) - y(level.peak));
  context.globalAlpha = 1;
  context.fillRect(x, y(level.rms), width, y(FLOOR_DB) - y(level.rms));
  if (level.hold <= FLOOR_DB) return;
  context.fillStyle = level.hold > -0.5 ? theme.bad : theme.ink;
  context.fillRect(x, y(level.hold) - 1, width, 2);
}

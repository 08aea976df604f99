/** The spectrum of what was sent, what came back, and the error, in dB below full scale. */

import { theme } from "./stage.js";

const BIN_HZ = 8; // the transform is as long as this resolution needs
const LOWEST_HZ = 50;
const FLOOR_DB = -110;
const SMOOTHING_MS = 120;
const TICKS_HZ = [100, 200, 500, 1000, 2000, 5000, 10000, 20000];
const MARGIN = { left: 34, bottom: 16, top: 6 };

/** In-place radix-2 transform (Cooley and Tukey) with its window (Hann) and its twiddle factors. */
export class Fft {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    this.real = new Float32Array(size);
    this.imaginary = new Float32Array(size);
    this.window = Float32Array.from(
      { length: size },
      (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size),
    );
    this.cosine = Float32Array.from({ length: size / 2 }, (_, i) =>
      Math.cos((2 * Math.PI * i) / size),
    );
    this.sine = Float32Array.from({ length: size / 2 }, (_, i) =>
      Math.sin((2 * Math.PI * i) / size),
    );
    const bits = Math.log2(size);
    this.reversed = Uint32Array.from({ length: size }, (_, i) => {
      let turned = 0;
      for (let bit = 0; bit < bits; bit++) turned |= ((i >> bit) & 1) << (bits - 1 - bit);
      return turned;
    });
  }

  /**
   * Write the power of each bin of `samples` into `power`; a full-scale sine's bin has 1.
   * @param {Float32Array} samples
   * @param {Float32Array} power
   */
  power(samples, power) {
    const { size, real, imaginary, window, reversed } = this;
    for (let i = 0; i < size; i++) real[reversed[i]] = samples[i] * window[i];
    imaginary.fill(0);
    for (let span = 1; span < size; span *= 2) this.butterflies(span);
    const scale = (4 / size) ** 2; // half the amplitude is in each of two bins, half in the window
    for (let i = 0; i < size / 2; i++) power[i] = (real[i] ** 2 + imaginary[i] ** 2) * scale;
  }

  /** @param {number} span */
  butterflies(span) {
    const { size, real, imaginary, cosine, sine } = this;
    const stride = size / (2 * span);
    for (let start = 0; start < size; start += 2 * span) {
      for (let i = start, turn = 0; i < start + span; i++, turn += stride) {
        const j = i + span;
        const re = real[j] * cosine[turn] + imaginary[j] * sine[turn];
        const im = imaginary[j] * cosine[turn] - real[j] * sine[turn];
        real[j] = real[i] - re;
        imaginary[j] = imaginary[i] - im;
        real[i] += re;
        imaginary[i] += im;
      }
    }
  }
}

export class Spectrum {
  constructor() {
    /** @type {Rings | null} */
    this.rings = null;
    /** @type {(keyof Rings)[]} */
    this.names = ["error", "received", "sent"]; // from the back to the front
    this.fft = new Fft(2);
    this.samples = this.fresh = new Float32Array(0);
    this.powers = { sent: this.fresh, received: this.fresh, error: this.fresh };
    this.seen = this.updatedAt = 0;
  }

  /** @param {Rings} rings */
  attach(rings) {
    this.rings = rings;
    if (!rings) return;
    const size = 2 ** Math.round(Math.log2(rings.sent.rate / BIN_HZ));
    this.fft = new Fft(size);
    this.samples = new Float32Array(size);
    this.fresh = new Float32Array(size / 2);
    this.powers = {
      sent: new Float32Array(size / 2),
      received: new Float32Array(size / 2),
      error: new Float32Array(size / 2),
    };
    this.seen = 0;
    this.updatedAt = 0;
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {number} height
   * @param {number} now
   */
  draw(context, width, height, now) {
    const rate = this.rings ? this.rings.sent.rate : 8000;
    const axes = scales(width, height, rate / 2);
    drawAxes(context, width, height, axes, rate / 2);
    if (!this.rings || this.rings.sent.total === 0) return;
    this.update(this.rings, now);
    for (const name of this.names) {
      context.strokeStyle = theme[name];
      context.lineWidth = name === "received" ? 2.5 : 1.25;
      this.curve(context, this.powers[name], axes, rate / this.fft.size);
    }
  }

  /**
   * @param {Rings} rings
   * @param {number} now
   */
  update(rings, now) {
    if (rings.sent.total === this.seen) return;
    const weight = 1 - Math.exp(-(now - this.updatedAt) / SMOOTHING_MS);
    this.seen = rings.sent.total;
    this.updatedAt = now;
    for (const name of /** @type {const} */ (["sent", "received", "error"])) {
      rings[name].latest(this.samples);
      this.fft.power(this.samples, this.fresh);
      const power = this.powers[name];
      for (let i = 0; i < power.length; i++) power[i] += weight * (this.fresh[i] - power[i]);
    }
  }

  /**
   * Draw the largest of the bins that fall onto each pixel.
   * @param {Pen} context
   * @param {Float32Array} power
   * @param {Axes} axes
   * @param {number} binHz
   */
  curve(context, power, { x, y }, binHz) {
    let column = -1;
    let most = 0;
    context.beginPath();
    for (let bin = Math.ceil(LOWEST_HZ / binHz); bin < power.length; bin++) {
      const at = Math.round(x(bin * binHz));
      if (at !== column && column >= 0) {
        context.lineTo(column, y(10 * Math.log10(most + 1e-20)));
        most = 0;
      }
      column = at;
      most = Math.max(most, power[bin]);
    }
    context.stroke();
  }
}

/**
 * @param {number} width
 * @param {number} height
 * @param {number} highestHz
 */
function scales(width, height, highestHz) {
  const octaves = Math.log(highestHz / LOWEST_HZ);
  const plot = height - MARGIN.bottom - MARGIN.top;
  return {
    x: (/** @type {number} */ hz) =>
      MARGIN.left + ((width - MARGIN.left) * Math.log(hz / LOWEST_HZ)) / octaves,
    y: (/** @type {number} */ db) =>
      MARGIN.top + (plot * Math.max(FLOOR_DB, Math.min(0, db))) / FLOOR_DB,
  };
}

/**
 * @param {Pen} context
 * @param {number} width
 * @param {number} height
 * @param {Axes} axes
 * @param {number} highestHz
 */
function drawAxes(context, width, height, { x, y }, highestHz) {
  context.strokeStyle = theme.grid;
  context.fillStyle = theme.muted;
  context.lineWidth = 1;
  context.beginPath();
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let db = 0; db > FLOOR_DB; db -= 20) {
    const at = Math.round(y(db)) + 0.5;
    context.moveTo(MARGIN.left, at);
    context.lineTo(width, at);
    context.fillText(String(db).replace("-", "\u2212"), MARGIN.left - 6, at);
  }
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  for (const hz of TICKS_HZ.filter((each) => each < highestHz)) {
    const at = Math.round(x(hz)) + 0.5;
    context.moveTo(at, MARGIN.top);
    context.lineTo(at, height - MARGIN.bottom);
    context.fillText(hz < 1000 ? String(hz) : `${hz / 1000}k`, at, height - 3);
  }
  context.stroke();
}

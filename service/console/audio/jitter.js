/**
 * The jitter buffer: frames come in bursts, samples go out at the sound card's pace.
 *
 * It starts to play once `target` is queued. Where the two clocks differ slightly, it plays up to
 * half a per cent faster or slower, which nobody hears. A queue that ran dry is filled to the
 * target again. A queue far beyond the target is cut back. A fade hides each of the two.
 */

import { Resampler } from "./resampler.js";

const LARGEST_TRIM = 0.005;
const TRIM_PER_SECOND = 0.125; // half a per cent at 40 ms off the target
const AVERAGE_SECONDS = 1;
const EXCESS_SECONDS = 0.08; // this much beyond the target is cut off
const CAPACITY_SECONDS = 2;
const PIECE = 32; // samples handed to the resampler at a time, so that little hides in there

export class JitterBuffer {
  /**
   * Play frames of `rate` samples a second at `outRate`; the target depth is in milliseconds.
   * @param {number} rate
   * @param {number} outRate
   * @param {number} targetMs
   */
  constructor(rate, outRate, targetMs) {
    this.rate = rate;
    this.outRate = outRate;
    this.queue = new Float32Array(CAPACITY_SECONDS * rate);
    this.piece = new Float32Array(PIECE);
    this.head = 0; // of the next sample to play
    this.depth = 0; // samples queued
    this.playing = false;
    this.fadeIn = false;
    this.underruns = 0;
    this.cuts = 0;
    this.target = this.average = 0;
    this.cutBack = false;
    this.resampler = new Resampler(rate, outRate);
    this.retarget(targetMs);
  }

  get depthMs() {
    return (1000 * this.depth) / this.rate;
  }

  /**
   * Aim at another depth, at once.
   * @param {number} targetMs
   */
  retarget(targetMs) {
    const target = Math.round((targetMs / 1000) * this.rate);
    if (target > this.depth) this.playing = false;
    this.cutBack = target < this.target;
    this.target = this.average = target;
  }

  /**
   * Queue a frame (Int16Array); a full queue drops its oldest samples.
   * @param {Int16Array} frame
   */
  push(frame) {
    const { queue } = this;
    const excess = this.depth + frame.length - queue.length;
    if (excess > 0) this.drop(excess);
    let at = (this.head + this.depth) % queue.length;
    for (let i = 0; i < frame.length; i++) {
      queue[at] = frame[i] / 32768;
      if (++at === queue.length) at = 0;
    }
    this.depth += frame.length;
  }

  /**
   * Fill `out` (Float32Array) with the next samples, or with silence while the queue fills.
   * @param {Float32Array} out
   */
  pull(out) {
    if (!this.playing && this.ready) this.start();
    if (!this.playing) {
      out.fill(0);
      return;
    }
    const cut = this.excessive || this.cutBack;
    const reached = this.render(out);
    if (this.fadeIn) fade(out, 0, out.length, 1);
    this.fadeIn = false;
    if (reached < out.length) {
      fade(out, 0, reached, -1);
      out.fill(0, reached);
      this.playing = false;
      this.ranDry();
    } else if (cut) {
      fade(out, 0, out.length, -1);
      if (this.depth > this.target) this.drop(this.depth - this.target);
      this.average = this.depth;
      this.fadeIn = true;
      this.cutBack = false;
    }
  }

  /** Whether enough is there to begin. */
  get ready() {
    return this.depth > 0 && this.depth >= this.target;
  }

  /** Whether so much is there that it comes too late. */
  get excessive() {
    return this.depth > this.target + EXCESS_SECONDS * this.rate;
  }

  ranDry() {
    this.underruns++;
  }

  start() {
    this.playing = this.fadeIn = true;
    this.average = this.depth;
    this.resampler = new Resampler(this.rate, this.outRate);
  }

  /** @param {Float32Array} out */
  render(out) {
    this.average += ((this.depth - this.average) * out.length) / (AVERAGE_SECONDS * this.outRate);
    const off = ((this.average - this.target) / this.rate) * TRIM_PER_SECOND;
    const trim = 1 + Math.max(-LARGEST_TRIM, Math.min(LARGEST_TRIM, off));
    let at = this.resampler.read(out, 0, out.length, trim);
    while (at < out.length && this.depth > 0) {
      this.resampler.write(this.take());
      at = this.resampler.read(out, at, out.length, trim);
    }
    return at;
  }

  take() {
    const count = Math.min(PIECE, this.depth);
    for (let i = 0; i < count; i++) this.piece[i] = this.queue[(this.head + i) % this.queue.length];
    this.head = (this.head + count) % this.queue.length;
    this.depth -= count;
    return count === PIECE ? this.piece : this.piece.subarray(0, count);
  }

  /** @param {number} count */
  drop(count) {
    this.head = (this.head + count) % this.queue.length;
    this.depth -= count;
    this.cuts++;
  }
}

/**
 * Fade the samples from `start` to `end` in (direction 1) or out (-1), in a straight line.
 * @param {Float32Array} out
 * @param {number} start
 * @param {number} end
 * @param {number} direction
 */
function fade(out, start, end, direction) {
  for (let i = start; i < end; i++) {
    const share = (i - start + 0.5) / (end - start);
    out[i] *= direction > 0 ? share : 1 - share;
  }
}

/** The jitter buffer of a two-way call: a voice that begins, ends, and can be cut off. */

import { JitterBuffer } from "./jitter.js";
import { Marks } from "./playing.js";

const CAPACITY_SECONDS = 10; // after a stall all that was said is still to be heard
const GAP_SECONDS = 0.5; // a longer silence is the end of a sentence, as for the service

/**
 * Nothing of a voice is cut off but by `clear`: it comes as fast as it is spoken. It begins to be
 * heard at the target's depth, or as long after it came, since a sentence may be shorter.
 */
export class Voice extends JitterBuffer {
  /**
   * @param {number} rate
   * @param {number} outRate
   * @param {number} targetMs
   */
  constructor(rate, outRate, targetMs) {
    super(rate, outRate, targetMs);
    this.queue = new Float32Array(CAPACITY_SECONDS * rate);
    this.marks = new Marks();
    this.waited = this.played = 0; // in samples of the output, and of the voice
    this.silence = Infinity; // since it ran dry in the middle, in samples of the output
  }

  /** @param {number} targetMs */
  retarget(targetMs) {
    super.retarget(targetMs);
    this.cutBack = false;
  }

  /** @param {Int16Array} frame */
  push(frame) {
    if (this.silence < GAP_SECONDS * this.outRate) this.underruns++;
    this.silence = Infinity;
    this.marks.came += frame.length;
    super.push(frame);
  }

  /** @param {Float32Array} out */
  pull(out) {
    this.waited += this.depth > 0 ? out.length : 0;
    this.silence += out.length;
    super.pull(out);
  }

  get ready() {
    return this.depth > 0 && (super.ready || this.waited * this.rate >= this.target * this.outRate);
  }

  get excessive() {
    return false;
  }

  start() {
    this.waited = 0;
    super.start();
  }

  take() {
    this.played += Math.min(this.depth, this.piece.length);
    return super.take();
  }

  ranDry() {
    this.waited = 0;
    this.silence = this.marks.atEnd ? Infinity : 0;
  }

  /** Drop all that was not played, and return how many milliseconds were, in all. */
  clear() {
    this.head = (this.head + this.depth) % this.queue.length;
    this.depth = 0;
    this.marks.clear();
    return (1000 * this.played) / this.rate;
  }

  /** Return the names of the marks that were reached since the last time. */
  reached() {
    return this.marks.reached(this.depth);
  }
}

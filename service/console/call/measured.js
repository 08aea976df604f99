/** What the page has measured of a call so far. */

import { Meters } from "../draw/meters.js";
import { SampleRing, Series } from "../draw/rings.js";

const SCOPE_SECONDS = 5;
const TIMELINE_VALUES = 2048; // ten seconds of frames of 10 ms, twice over
const QUIET = 32 ** 2; // mean square below which a frame's own ratio says nothing

export const MARKS = { gap: 0, lost: 1, underrun: 2 };

/** What was measured in a call; everything in it has a fixed size, however long the call. */
export class Measured {
  /** @param {number} rate */
  constructor(rate) {
    this.rings = {
      sent: new SampleRing(rate, SCOPE_SECONDS),
      received: new SampleRing(rate, SCOPE_SECONDS),
      error: new SampleRing(rate, SCOPE_SECONDS),
    };
    this.rate = rate;
    this.roundTrip = new Series(TIMELINE_VALUES);
    this.ratio = new Series(TIMELINE_VALUES);
    this.depth = new Series(TIMELINE_VALUES);
    this.frameMarks = new Series(256);
    this.depthMarks = new Series(256);
    this.meters = new Meters();
    this.frames = this.gaps = this.lost = this.underruns = this.clears = 0;
    this.heardSeconds = 0; // in which a handler spoke
    this.signal = this.noise = 0;
    this.same = true;
  }

  /** Signal to noise of every reply so far against the 16-bit source, in dB. */
  get snr() {
    return this.signal === 0 ? NaN : 10 * Math.log10(this.signal / this.noise);
  }

  /** Whether every byte came back as it was sent. */
  get untouched() {
    return this.frames > 0 && this.same;
  }

  /** Whether, besides, every sample came back as the source had it: there is no difference. */
  get exact() {
    return this.untouched && this.noise === 0;
  }

  /** @param {FrameMeasured} frame */
  take({ sent, received, rtt, gap, signal, noise, same }) {
    const now = seconds();
    const error = Int32Array.from(sent, (sample, at) => received[at] - sample);
    this.rings.sent.write(sent);
    this.rings.received.write(received);
    this.rings.error.write(error);
    this.meters.sent.take(sent, sent.length / this.rate);
    this.meters.received.take(received, sent.length / this.rate);
    this.roundTrip.add(now, rtt);
    this.ratio.add(now, signal / sent.length > QUIET ? 10 * Math.log10(signal / noise) : NaN);
    if (gap) this.frameMarks.add(now, MARKS.gap);
    this.frames++;
    this.gaps += Number(gap);
    this.signal += signal;
    this.noise += noise;
    this.same &&= same;
  }

  /**
   * Add a frame of a two-way call, and what is heard meanwhile.
   * @param {FrameOfTalk} frame
   */
  hear({ sent, received, speaking }) {
    const seconds = sent.length / this.rate;
    this.rings.sent.write(sent);
    this.rings.received.write(received);
    this.meters.sent.take(sent, seconds);
    this.meters.received.take(received, seconds);
    this.frames++;
    if (speaking) this.heardSeconds += seconds;
  }

  /**
   * Add the jitter buffer's depth, and how often it ran dry since its last report.
   * @param {BufferState} state
   */
  takeBuffer({ depthMs, underruns }) {
    const now = seconds();
    this.depth.add(now, depthMs);
    if (underruns) this.depthMarks.add(now, MARKS.underrun);
    this.underruns += underruns;
  }

  /**
   * Count frames that were sent and got no reply.
   * @param {number} frames
   */
  lose(frames) {
    this.lost += frames;
    this.roundTrip.add(seconds(), NaN); // no line across the time without a connection
    if (frames) this.frameMarks.add(seconds(), MARKS.lost);
  }
}

/** The clock of all measured series, in seconds. */
export const seconds = () => performance.now() / 1000;

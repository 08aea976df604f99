/** The audio thread's end of a call's replies: a jitter buffer that tells how deep it is. */

import { JitterBuffer } from "./jitter.js";
import { Voice } from "./voice.js";

const REPORT_SECONDS = 0.05;

class Player extends AudioWorkletProcessor {
  /** @param {{ processorOptions: { rate: number, targetMs: number } }} options */
  constructor({ processorOptions: { rate, targetMs } }) {
    super();
    this.buffer = new JitterBuffer(rate, sampleRate, targetMs);
    this.targetMs = targetMs;
    /** @type {Voice | null} */
    this.voice = null; // the buffer of a two-way call
    /** @type {MessagePort | null} */
    this.frames = null;
    this.reportAt = 0;
    this.told = 0; // underruns
    this.stopped = false;
    this.port.onmessage = ({ data }) => {
      if (data.frames) this.take(data.frames);
      if (data.targetMs !== undefined) this.retarget(data.targetMs);
      if (data.stop) this.stopped = true;
    };
  }

  /** @param {number} targetMs */
  retarget(targetMs) {
    this.targetMs = targetMs;
    this.buffer.retarget(targetMs);
  }

  /** @param {MessagePort} frames */
  take(frames) {
    this.frames = frames;
    frames.onmessage = ({ data }) => {
      if (data instanceof Int16Array) this.buffer.push(data);
      else this.obey(data);
    };
  }

  /** @param {PlayerOrder} order */
  obey(order) {
    if ("voice" in order) {
      this.buffer = this.voice = new Voice(this.buffer.rate, sampleRate, this.targetMs);
    } else if ("mark" in order) this.voice?.marks.add(order.mark);
    else if (this.voice) this.tell({ cleared: this.voice.clear() });
  }

  /** @param {PlayerReport} report */
  tell(report) {
    this.frames?.postMessage(report);
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, [[out]]) {
    this.buffer.pull(out);
    for (const mark of this.voice?.reached() ?? []) this.tell({ mark });
    if (currentTime >= this.reportAt) {
      this.reportAt = currentTime + REPORT_SECONDS;
      const { depthMs, underruns } = this.buffer;
      this.port.postMessage({ depthMs, underruns: underruns - this.told });
      this.told = underruns;
    }
    return !this.stopped;
  }
}

registerProcessor("player", Player);

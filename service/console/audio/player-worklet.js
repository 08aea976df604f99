/** The audio thread's end of a call's replies: a jitter buffer that tells how deep it is. */

import { JitterBuffer } from "./jitter.js";

const REPORT_SECONDS = 0.05;

class Player extends AudioWorkletProcessor {
  /** @param {{ processorOptions: { rate: number, targetMs: number } }} options */
  constructor({ processorOptions: { rate, targetMs } }) {
    super();
    this.buffer = new JitterBuffer(rate, sampleRate, targetMs);
    this.reportAt = 0;
    this.told = 0; // underruns
    this.stopped = false;
    this.port.onmessage = ({ data }) => {
      if (data.frames) this.take(data.frames);
      if (data.targetMs !== undefined) this.buffer.retarget(data.targetMs);
      if (data.stop) this.stopped = true;
    };
  }

  /** @param {MessagePort} frames */
  take(frames) {
    frames.onmessage = ({ data }) => this.buffer.push(data);
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, [[out]]) {
    this.buffer.pull(out);
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

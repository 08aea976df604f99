/** The audio thread's end of the microphone: frames of 16-bit samples at the chosen rate. */

import { Resampler } from "./resampler.js";

class Capture extends AudioWorkletProcessor {
  /** @param {{ processorOptions: { rate: number, frameSamples: number } }} options */
  constructor({ processorOptions: { rate, frameSamples } }) {
    super();
    this.resampler = rate === sampleRate ? null : new Resampler(sampleRate, rate);
    this.block = new Float32Array(frameSamples);
    this.filled = 0;
    this.stopped = false;
    /** @type {MessagePort | null} */
    this.frames = null;
    this.port.onmessage = ({ data }) => {
      if (data.frames) this.frames = data.frames;
      if (data.stop) this.stopped = true;
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([[input]]) {
    if (input && this.frames) {
      if (this.resampler) this.convert(this.resampler, input);
      else this.copy(input);
    }
    return !this.stopped;
  }

  /**
   * @param {Resampler} resampler
   * @param {Float32Array} input
   */
  convert(resampler, input) {
    resampler.write(input);
    for (;;) {
      this.filled = resampler.read(this.block, this.filled, this.block.length);
      if (this.filled < this.block.length) return;
      this.emit();
    }
  }

  /** @param {Float32Array} input */
  copy(input) {
    for (let at = 0; at < input.length;) {
      const count = Math.min(input.length - at, this.block.length - this.filled);
      this.block.set(input.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.block.length) this.emit();
    }
  }

  emit() {
    const frame = new Int16Array(this.block.length);
    for (let i = 0; i < frame.length; i++) {
      frame[i] = Math.round(Math.max(-32768, Math.min(32767, this.block[i] * 32768)));
    }
    this.filled = 0;
    this.frames?.postMessage(frame, [frame.buffer]);
  }
}

registerProcessor("capture", Capture);

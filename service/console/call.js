/** One call as the page sees it: its worker, its audio nodes, and what has been measured so far. */

import { decodeFile, secure, speaker, speechFile } from "./audio.js";
import { Meters } from "./meters.js";
import { SampleRing, Series } from "./rings.js";

const SCOPE_SECONDS = 5;
const TIMELINE_VALUES = 2048; // ten seconds of frames of 10 ms, twice over
const QUIET = 32 ** 2; // mean square below which a frame's own ratio says nothing

export const MARKS = { gap: 0, lost: 1, underrun: 2 };

/** What was measured in a call; everything in it has a fixed size, however long the call. */
export class Measured {
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
    Object.assign(this, { frames: 0, gaps: 0, lost: 0, heldBack: 0, inFlight: 0 });
    Object.assign(this, { signal: 0, noise: 0, same: true, underruns: 0 });
  }

  /** Signal to noise of every reply so far against the 16-bit source, in dB. */
  get snr() {
    return this.signal === 0 ? NaN : 10 * Math.log10(this.signal / this.noise);
  }

  take({ sent, received, rtt, gap, signal, noise, same, heldBack, inFlight }) {
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
    this.gaps += gap;
    this.signal += signal;
    this.noise += noise;
    this.same &&= same;
    Object.assign(this, { heldBack, inFlight });
  }

  takeBuffer({ depthMs, underruns }) {
    const now = seconds();
    this.depth.add(now, depthMs);
    if (underruns > this.underruns) this.depthMarks.add(now, MARKS.underrun);
    this.underruns = underruns;
  }

  lose(frames) {
    this.lost = frames;
    if (frames) this.frameMarks.add(seconds(), MARKS.lost);
  }
}

/** The clock of all measured series, in seconds. */
export const seconds = () => performance.now() / 1000;

/** A call by `settings` (of settings.js); `on` has `open()`, `closed(ending)` and `fault(error)`. */
export class Call {
  constructor(settings, on) {
    this.settings = settings;
    this.on = on;
    this.measured = new Measured(settings.rate);
    this.over = this.hungUp = false;
    this.done = new Promise((resolve) => (this.released = resolve));
  }

  /** Get the source ready and connect; raises AudioError where that cannot be done. */
  async start(url, protocols) {
    const { rate, frameMs, encoding, reply, source, bufferMs } = this.settings;
    const samples = await this.samples();
    if (secure) await speaker.ready();
    if (this.over) return;
    if (source === "microphone") this.mic = await speaker.microphone(rate, (rate * frameMs) / 1000);
    if (this.over) {
      this.mic?.stop();
      return;
    }
    if (secure) this.player = speaker.player(rate, bufferMs, (state) => this.measured.takeBuffer(state));
    const [mic, player] = [this.mic?.frames ?? null, this.player?.frames ?? null];
    this.worker = new Worker(new URL("call-worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.handle(data);
    this.worker.onerror = (event) => this.fail(event);
    const ports = [mic, player].filter(Boolean);
    const options = { url, protocols, rate, frameMs, encoding, reply, source, samples, mic, player };
    this.worker.postMessage({ type: "open", ...options }, ports);
  }

  async samples() {
    const { source, file, rate } = this.settings;
    if (source === "speech") return decodeFile(await speechFile(), rate);
    return source === "file" ? decodeFile(file, rate) : null;
  }

  handle(message) {
    if (message.type === "frame") this.measured.take(message);
    else if (message.type === "open") this.on.open();
    else this.ended(message);
  }

  ended(ending) {
    if (this.over) return;
    this.measured.lose(ending.lost);
    this.release();
    this.on.closed({ ...ending, hungUp: this.hungUp });
  }

  fail(event) {
    this.release();
    this.on.fault(new Error(event.message ?? "the call's worker could not be loaded"));
  }

  mute(on) {
    this.worker?.postMessage({ type: "mute", on });
  }

  aim(bufferMs) {
    this.player?.aim(bufferMs);
  }

  /** Say goodbye; `closed` follows, and `done` is fulfilled. */
  close() {
    this.hungUp = true;
    if (this.worker) this.worker.postMessage({ type: "close" });
    else this.ended({ code: 1000, reason: "", opened: false, lost: 0 });
  }

  /** Let go of everything, and hear no more of it. */
  release() {
    this.over = true;
    this.mic?.stop();
    this.player?.stop();
    this.worker?.terminate();
    this.released();
  }
}

/** One call as the page sees it: its worker, its audio nodes, and what has been measured so far. */

import { decodeFile, secure, speaker, speechFile } from "../audio/devices.js";
import { Measured } from "./measured.js";

/** A call by the form's settings; `on` has `open()`, `closed(ending)` and `fault(error)`. */
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
    if (secure)
      this.player = speaker.player(rate, bufferMs, (state) => this.measured.takeBuffer(state));
    const [mic, player] = [this.mic?.frames ?? null, this.player?.frames ?? null];
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.handle(data);
    this.worker.onerror = (event) => this.fail(event);
    const ports = [mic, player].filter(Boolean);
    const options = {
      url,
      protocols,
      rate,
      frameMs,
      encoding,
      reply,
      source,
      samples,
      mic,
      player,
    };
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

/** One connection as the page sees it: its worker, its audio nodes, and how it ended. */

import { decodeFile, secure, speaker, speechFile } from "../audio/devices.js";

export class Call {
  /**
   * A call by the form's settings, which adds to `measured`.
   *
   * `on` has `open()`, `started({ id, codec })` and `silence({ seconds, waiting })`.
   */
  constructor(settings, measured, on) {
    this.settings = settings;
    this.measured = measured;
    this.on = on;
    this.over = false;
    this.ending = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  /** Carry the call to its end, and return the ending; raises what keeps it from beginning. */
  async run(url, protocols) {
    this.start(url, protocols).catch(this.reject);
    try {
      return await this.ending;
    } finally {
      this.over = true;
      this.mic?.stop();
      this.player?.stop();
      this.worker?.terminate();
    }
  }

  /** Get the source ready and connect; raises AudioError where that cannot be done. */
  async start(url, protocols) {
    const { rate, frameMs, encoding, reply, source, bufferMs } = this.settings;
    const samples = await this.samples();
    if (secure) await speaker.ready();
    if (this.over) return;
    const mic =
      source === "microphone" ? await speaker.microphone(rate, (rate * frameMs) / 1000) : null;
    if (this.over) {
      mic?.stop();
      return;
    }
    this.mic = mic;
    if (secure) this.player = speaker.player(rate, bufferMs, (state) => this.buffered(state));
    const ports = { mic: mic?.frames ?? null, player: this.player?.frames ?? null };
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.handle(data);
    this.worker.onerror = ({ message }) =>
      this.reject(new Error(message ?? "The call's worker could not be loaded."));
    this.worker.postMessage(
      { type: "open", url, protocols, rate, frameMs, encoding, reply, source, samples, ...ports },
      Object.values(ports).filter(Boolean),
    );
  }

  async samples() {
    const { source, file, rate } = this.settings;
    if (source === "speech") return decodeFile(await speechFile(), rate);
    return source === "file" ? decodeFile(file, rate) : null;
  }

  handle(message) {
    if (this.over) return;
    if (message.type === "frame") this.measured.take(message);
    else if (message.type === "open") this.on.open();
    else if (message.type === "started") this.on.started(message);
    else if (message.type === "silence") this.on.silence(message);
    else {
      this.measured.lose(message.lost);
      this.resolve(message);
    }
  }

  buffered(state) {
    if (!this.over) this.measured.takeBuffer(state);
  }

  mute(on) {
    this.worker?.postMessage({ type: "mute", on });
  }

  aim(bufferMs) {
    this.player?.aim(bufferMs);
  }

  /** Say goodbye; the ending follows. */
  close() {
    if (this.worker) this.worker.postMessage({ type: "close" });
    else this.resolve({ code: 1000, reason: "", opened: false, unanswered: false, lost: 0 });
  }
}

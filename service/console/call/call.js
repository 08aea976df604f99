/** One connection as the page sees it: its worker, its audio nodes, and how it ended. */

import { decodeFile, secure, speaker, speechFile } from "../audio/devices.js";
import { factsUrl } from "../server.js";

export class Call {
  /**
   * A call by the form's settings, which adds to `measured`.
   *
   * `on` has `open()`, `started({ id, codec, handler })`, `silence({ seconds, waiting })`, and of
   * a two-way call `heard(speaking)` for each frame and `said(event)`.
   * @param {CallSettings} settings
   * @param {Measured} measured
   * @param {CallEvents} on
   */
  constructor(settings, measured, on) {
    this.settings = settings;
    this.measured = measured;
    this.on = on;
    this.over = false;
    this.resolve = (/** @type {Ending} */ _ending) => {};
    this.reject = (/** @type {Error} */ _error) => {};
    /** @type {Promise<Ending>} */
    this.ending = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /**
   * Carry the call to its end, and return the ending; raises what keeps it from beginning.
   * @param {string} url
   * @param {string[]} protocols
   */
  async run(url, protocols) {
    this.start(url, protocols).catch((error) => this.reject(error));
    try {
      return await this.ending;
    } finally {
      this.over = true;
      this.mic?.stop();
      this.player?.stop();
      this.worker?.terminate();
    }
  }

  /**
   * Get the source ready and connect; raises AudioError where that cannot be done.
   * @param {string} url
   * @param {string[]} protocols
   */
  async start(url, protocols) {
    const { rate, frameMs, encoding, reply, source, bufferMs, twoWay } = this.settings;
    const facts = factsUrl().href;
    const samples = await this.samples();
    const output = secure ? await speaker.open() : null;
    if (this.over) return;
    const samplesAFrame = (rate * frameMs) / 1000;
    const mic =
      output && source === "microphone"
        ? await output.microphone(rate, samplesAFrame, twoWay)
        : null;
    if (this.over) {
      mic?.stop();
      return;
    }
    this.mic = mic;
    this.player = output?.player(rate, bufferMs, (state) => this.buffered(state));
    const ports = { mic: mic?.frames ?? null, player: this.player?.frames ?? null };
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.handle(data);
    this.worker.onerror = ({ message }) =>
      this.reject(new Error(message ?? "The call's worker could not be loaded."));
    this.worker.postMessage(
      { type: "open", url, protocols, rate, frameMs, encoding, reply, source, samples, facts,
        ...ports },
      Object.values(ports).filter((port) => port !== null),
    );
  }

  async samples() {
    const { source, file, rate } = this.settings;
    if (source === "speech") return decodeFile(await speechFile(), rate);
    return file && source === "file" ? decodeFile(file, rate) : null;
  }

  /** @param {WorkerReport} message */
  handle(message) {
    if (this.over) return;
    if (message.type === "frame") this.measured.take(message);
    else if (message.type === "talk") {
      this.measured.hear(message);
      this.on.heard(message.speaking);
    } else if (message.type === "event") {
      if (message.event.type === "cleared") this.measured.clears++;
      this.on.said(message.event);
    }
    else if (message.type === "open") this.on.open();
    else if (message.type === "started") this.on.started(message);
    else if (message.type === "silence") this.on.silence(message);
    else {
      this.measured.lose(message.lost);
      this.resolve(message);
    }
  }

  /** @param {BufferState} state */
  buffered(state) {
    if (!this.over) this.measured.takeBuffer(state);
  }

  /** @param {boolean} on */
  mute(on) {
    this.worker?.postMessage({ type: "mute", on });
  }

  /**
   * Press keys of the telephone, in a two-way call.
   * @param {string} digits
   */
  press(digits) {
    this.worker?.postMessage({ type: "digits", digits });
  }

  /** @param {number} bufferMs */
  aim(bufferMs) {
    this.player?.aim(bufferMs);
  }

  /** Say goodbye; the ending follows. */
  close() {
    if (this.worker) this.worker.postMessage({ type: "close" });
    else this.resolve({ code: 1000, reason: "", opened: false, unanswered: false, lost: 0 });
  }
}

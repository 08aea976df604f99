/**
 * The WebSocket of one call, off the page's thread, so that drawing delays no frame.
 *
 * The worker encodes and sends the source's frames, and matches each reply with its frame. Binary
 * messages are replies: the n-th reply belongs to the n-th frame. Text messages are events. The
 * worker posts its measurements to the page, and the replies' audio directly to the player.
 */

import { decode, encode } from "../audio/g711.js";
import { makeSource } from "../audio/sources.js";

const LATE_MS = 1000; // after a longer stop (sleep) the pacer does not catch up
const OPEN_MS = 10_000; // the service has this long to answer the upgrade
const REPLY_MS = 10_000; // a frame without a reply for this long ends the call as lost
const SILENCE_MS = 700; // the page is told of a longer silence, and of its end
const WATCH_MS = 100;
const GOODBYE_MS = 1000; // the service has this long to reply to the last frames and to close

class Link {
  /** @param {OpenOrder} order */
  constructor({ url, protocols, encoding, reply, rate, frameMs, source, samples, mic, player }) {
    this.encoding = encoding;
    this.reply = reply;
    this.rate = rate;
    this.frameMs = frameMs;
    this.player = player;
    this.frameSamples = (rate * frameMs) / 1000;
    this.muted = false;
    /** @type {{ pcm: Int16Array, payload: Uint8Array | Int16Array, at: number }[]} */
    this.inFlight = [];
    this.lastReplyAt = 0;
    this.opened = this.silent = this.leaving = this.over = false;
    this.began = performance.now();
    this.watch = setInterval(() => this.look(), WATCH_MS);
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.begin(source, samples, mic);
    this.socket.onmessage = ({ data }) =>
      typeof data === "string" ? this.note(JSON.parse(data)) : this.receive(data);
    this.socket.onclose = ({ code, reason }) => this.end(code, reason);
  }

  /**
   * @param {Source} source
   * @param {Int16Array | null} samples
   * @param {MessagePort | null} mic
   */
  begin(source, samples, mic) {
    this.opened = true;
    this.began = performance.now();
    report({ type: "open" });
    if (mic) {
      mic.onmessage = ({ data }) => this.send(data);
      return;
    }
    const fill = makeSource(source, this.rate, samples);
    this.pace(() => {
      const frame = new Int16Array(this.frameSamples);
      fill(frame);
      return frame;
    });
  }

  /**
   * Send each frame when the clock says so; a late timer delays no later frame.
   * @param {() => Int16Array} next
   */
  pace(next) {
    let due = this.began;
    const tick = () => {
      const now = performance.now();
      if (now - due > LATE_MS) due = now;
      for (; due <= now; due += this.frameMs) this.send(next());
      this.timer = setTimeout(tick, due - performance.now());
    };
    tick();
  }

  /** @param {Int16Array} pcm */
  send(pcm) {
    if (this.leaving || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.muted) pcm.fill(0);
    const payload = encode(pcm, this.encoding);
    this.inFlight.push({ pcm, payload, at: performance.now() });
    this.socket.send(payload);
  }

  /**
   * Pass on an event of the service; a later version may send others than this page knows.
   * @param {{ type: "started" } & Started} event
   */
  note(event) {
    if (event.type === "started") report(event);
  }

  /** @param {ArrayBuffer} message */
  receive(message) {
    const now = performance.now();
    const frame = this.inFlight.shift();
    if (!frame) throw new Error("a reply came that no frame waits for");
    const { pcm, payload, at } = frame;
    const received = decode(message, this.reply);
    const gap = this.lastReplyAt > 0 && now - this.lastReplyAt > 2 * this.frameMs;
    this.lastReplyAt = now;
    if (this.silent) this.tell(0);
    if (this.leaving && this.inFlight.length === 0) this.socket.close(1000);
    const [signal, noise] = energies(pcm, received);
    const same = this.encoding === this.reply && sameBytes(payload, message);
    this.player?.postMessage(received);
    const measured = { rtt: now - at, gap, signal, noise, same };
    report({ type: "frame", sent: pcm, received, ...measured }, [pcm.buffer, received.buffer]);
  }

  /** Look whether the service still answers: the upgrade first, then the frames. */
  look() {
    const now = performance.now();
    if (!this.opened) {
      if (now - this.began > OPEN_MS) this.giveUp();
      return;
    }
    const [oldest] = this.inFlight;
    if (!oldest) return;
    const silence = now - Math.max(oldest.at, this.lastReplyAt);
    if (silence > SILENCE_MS) this.tell(silence);
    if (now - oldest.at > REPLY_MS) this.giveUp();
  }

  /**
   * Tell the page for how long there has been no reply; 0 when there is one again.
   * @param {number} silence
   */
  tell(silence) {
    this.silent = silence > 0;
    report({ type: "silence", seconds: silence / 1000, waiting: this.inFlight.length });
  }

  /** End as lost, without waiting for a close frame from a service that does not answer. */
  giveUp() {
    this.socket.close();
    this.end(1006, "", true);
  }

  /**
   * Send no more, and close once each frame has its reply: a closing WebSocket takes none.
   *
   * A service that does not answer holds up the end for GOODBYE_MS.
   */
  hangUp() {
    this.leaving = true;
    if (this.inFlight.length === 0) this.socket.close(1000);
    setTimeout(() => {
      this.socket.close(1000);
      this.end(1000, "");
    }, GOODBYE_MS);
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @param {boolean} [unanswered]
   */
  end(code, reason, unanswered = false) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.watch);
    clearTimeout(this.timer);
    const { opened, inFlight } = this;
    report({ type: "closed", code, reason, opened, unanswered, lost: inFlight.length });
  }
}

/**
 * Return the energy of the sent samples, and of their difference to the reply, in samples².
 * @param {Int16Array} sent
 * @param {Int16Array} received
 */
function energies(sent, received) {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < sent.length; i++) {
    const error = received[i] - sent[i];
    signal += sent[i] * sent[i];
    noise += error * error;
  }
  return [signal, noise];
}

/**
 * @param {Uint8Array | Int16Array} payload
 * @param {ArrayBuffer} message
 */
function sameBytes(payload, message) {
  const one = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
  const other = new Uint8Array(message);
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/**
 * Tell the page; `transfer` names what it may have without a copy.
 * @param {WorkerReport} message
 * @param {Transferable[]} transfer
 */
function report(message, transfer = []) {
  postMessage(message, { transfer });
}

/** @type {Link | null} */
let link = null;

onmessage = (/** @type {MessageEvent<Order>} */ { data }) => {
  if (data.type === "open") link = new Link(data);
  else if (!link) throw new Error("nothing comes before a call is opened");
  else if (data.type === "mute") link.muted = data.on;
  else link.hangUp();
};

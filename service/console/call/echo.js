/** A call that the echo answers: the n-th binary message is the reply to the n-th frame. */

import { decode } from "../audio/g711.js";

const REPLY_MS = 10_000; // a frame without a reply for this long ends the call as lost
const SILENCE_MS = 700; // the page is told of a longer silence, and of its end

/** @implements {Exchange} */
export class Echo {
  /**
   * @param {Wire} wire
   * @param {OpenOrder} order
   */
  constructor(wire, { encoding, reply, frameMs, player }) {
    this.wire = wire;
    this.untouched = encoding === reply;
    this.reply = reply;
    this.frameMs = frameMs;
    this.player = player;
    /** @type {{ pcm: Int16Array, payload: Uint8Array | Int16Array, at: number }[]} */
    this.inFlight = [];
    this.lastReplyAt = 0;
    this.silent = this.leaving = false;
  }

  get lost() {
    return this.inFlight.length;
  }

  /**
   * @param {Int16Array} pcm
   * @param {Uint8Array | Int16Array} payload
   */
  sent(pcm, payload) {
    this.inFlight.push({ pcm, payload, at: performance.now() });
  }

  /** Take note of an event; a later version may send others than this page knows. */
  note() {}

  press() {}

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
    if (this.leaving && this.inFlight.length === 0) this.wire.close();
    const [signal, noise] = energies(pcm, received);
    const same = this.untouched && sameBytes(payload, message);
    this.player?.postMessage(received);
    const measured = { rtt: now - at, gap, signal, noise, same };
    const audio = [pcm.buffer, received.buffer];
    this.wire.report({ type: "frame", sent: pcm, received, ...measured }, audio);
  }

  /** Look whether the service still answers the frames. */
  look() {
    const now = performance.now();
    const [oldest] = this.inFlight;
    if (!oldest) return;
    const silence = now - Math.max(oldest.at, this.lastReplyAt);
    if (silence > SILENCE_MS) this.tell(silence);
    if (now - oldest.at > REPLY_MS) this.wire.giveUp();
  }

  /**
   * Tell the page for how long there has been no reply; 0 when there is one again.
   * @param {number} silence
   */
  tell(silence) {
    this.silent = silence > 0;
    this.wire.report({ type: "silence", seconds: silence / 1000, waiting: this.inFlight.length });
  }

  /** Close once each frame has its reply: a closing WebSocket takes none. */
  leave() {
    this.leaving = true;
    if (this.inFlight.length === 0) this.wire.close();
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

/**
 * One call, off the page's thread, so that drawing delays no frame and no measurement.
 *
 * It paces or passes on the frames, encodes, sends, and matches each reply with its frame: replies
 * come one for one and in order, so the n-th reply is the n-th frame's. What it measures it posts
 * to the page; the audio that came back goes straight to the player.
 */

import { decode, encode } from "../audio/g711.js";
import { makeSource } from "../audio/sources.js";

const LATE_SECONDS = 1; // a pacer that was stopped for longer than this (sleep) does not catch up
const IN_FLIGHT_SECONDS = 10; // frames beyond are not sent: the service does not answer

let link = null;

class Link {
  constructor({ url, protocols, encoding, reply, rate, frameMs, source, samples, mic, player }) {
    Object.assign(this, { encoding, reply, rate, frameMs, player });
    this.frameSamples = (rate * frameMs) / 1000;
    this.muted = false;
    this.inFlight = [];
    this.heldBack = 0;
    this.lastReplyAt = 0;
    this.opened = false;
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.begin(source, samples, mic);
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ code, reason }) => this.end(code, reason);
  }

  begin(source, samples, mic) {
    this.opened = true;
    this.began = performance.now();
    postMessage({ type: "open" });
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

  /** Send a frame whenever one is due by the clock: late timers do not add up. */
  pace(next) {
    let due = this.began;
    const tick = () => {
      const now = performance.now();
      if (now - due > 1000 * LATE_SECONDS) due = now;
      for (; due <= now; due += this.frameMs) this.send(next());
      this.timer = setTimeout(tick, due - performance.now());
    };
    tick();
  }

  send(pcm) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (this.inFlight.length * this.frameMs > 1000 * IN_FLIGHT_SECONDS) {
      this.heldBack++;
      return;
    }
    if (this.muted) pcm.fill(0);
    const payload = encode(pcm, this.encoding);
    this.inFlight.push({ pcm, payload, at: performance.now() });
    this.socket.send(payload);
  }

  receive(message) {
    const now = performance.now();
    const { pcm, payload, at } = this.inFlight.shift();
    const received = decode(message, this.reply);
    const gap = this.lastReplyAt > 0 && now - this.lastReplyAt > 2 * this.frameMs;
    this.lastReplyAt = now;
    const [signal, noise] = energies(pcm, received);
    const same = this.encoding === this.reply && sameBytes(payload, message);
    this.player?.postMessage(received);
    const { heldBack } = this;
    const inFlight = this.inFlight.length;
    const measured = { rtt: now - at, gap, signal, noise, same, heldBack, inFlight };
    postMessage({ type: "frame", sent: pcm, received, ...measured }, [pcm.buffer, received.buffer]);
  }

  end(code, reason) {
    clearTimeout(this.timer);
    const { opened, inFlight } = this;
    postMessage({ type: "closed", code, reason, opened, lost: inFlight.length });
  }
}

/** Return the energy of what was sent, and of its difference to what came back, in samples². */
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

function sameBytes(payload, message) {
  const one = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
  const other = new Uint8Array(message);
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

onmessage = ({ data }) => {
  if (data.type === "open") link = new Link(data);
  else if (data.type === "mute") link.muted = data.on;
  else if (data.type === "close") link.socket.close(1000);
};

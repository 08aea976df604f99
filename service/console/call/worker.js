/**
 * The WebSocket of one call, off the page's thread, so that drawing delays no frame.
 *
 * The worker encodes and sends the source's frames. The service's first message, `started`, says
 * who answers: what comes then is a reply to each frame, or a handler's own.
 */

import { encode } from "../audio/g711.js";
import { makeSource } from "../audio/sources.js";
import { Echo } from "./echo.js";
import { TwoWay } from "./two-way.js";

const LATE_MS = 1000; // after a longer stop (sleep) the pacer does not catch up
const OPEN_MS = 10_000; // the service has this long to answer the upgrade, and to begin
const WATCH_MS = 100;
const GOODBYE_MS = 1000; // the service has this long to reply to the last frames and to close

/** @implements {Wire} */
class Link {
  /** @param {OpenOrder} order */
  constructor(order) {
    const { url, protocols, rate, frameMs } = order;
    this.order = order;
    this.frameSamples = (rate * frameMs) / 1000;
    this.muted = false;
    /** @type {Exchange | null} */
    this.exchange = null; // once the service has said who answers
    this.opened = this.leaving = this.over = false;
    this.began = performance.now();
    this.watch = setInterval(() => this.look(), WATCH_MS);
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.opened = true;
      this.report({ type: "open" });
    };
    this.socket.onmessage = ({ data }) =>
      typeof data === "string" ? this.note(JSON.parse(data)) : this.exchange?.receive(data);
    this.socket.onclose = ({ code, reason }) => this.end(code, reason);
  }

  /** @param {({ type: "started" } & Started) | HandlerEvent} event */
  note(event) {
    if (event.type === "started") this.begin(event);
    else this.exchange?.note(event);
  }

  /** @param {{ type: "started" } & Started} event */
  begin(event) {
    const { source, samples, mic, rate } = this.order;
    this.exchange = event.handler ? new TwoWay(this, this.order) : new Echo(this, this.order);
    this.began = performance.now();
    this.report(event);
    if (mic) {
      mic.onmessage = ({ data }) => this.send(data);
      return;
    }
    const fill = makeSource(source, rate, samples);
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
      for (; due <= now; due += this.order.frameMs) this.send(next());
      this.timer = setTimeout(tick, due - performance.now());
    };
    tick();
  }

  /** @param {Int16Array} pcm */
  send(pcm) {
    if (this.leaving || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.muted) pcm.fill(0);
    const payload = encode(pcm, this.order.encoding);
    this.socket.send(payload);
    this.exchange?.sent(pcm, payload);
  }

  /** @param {object} event */
  say(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  /** Look whether the service still answers: the upgrade first, then the call. */
  look() {
    if (this.exchange) this.exchange.look();
    else if (performance.now() - this.began > OPEN_MS) this.giveUp();
  }

  /** End as lost, without waiting for a close frame from a service that does not answer. */
  giveUp() {
    this.socket.close();
    this.end(1006, "", true);
  }

  close() {
    this.socket.close(1000);
  }

  /** Send no more, and close. A service that does not answer holds up the end for GOODBYE_MS. */
  hangUp() {
    this.leaving = true;
    if (this.exchange) this.exchange.leave();
    else this.close();
    setTimeout(() => {
      this.close();
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
    const { opened } = this;
    const lost = this.exchange?.lost ?? 0;
    this.report({ type: "closed", code, reason, opened, unanswered, lost });
  }

  /**
   * Tell the page; `transfer` names what it may have without a copy.
   * @param {WorkerReport} message
   * @param {Transferable[]} transfer
   */
  report(message, transfer = []) {
    postMessage(message, { transfer });
  }
}

/** @type {Link | null} */
let link = null;

onmessage = (/** @type {MessageEvent<Order>} */ { data }) => {
  if (data.type === "open") link = new Link(data);
  else if (!link) throw new Error("nothing comes before a call is opened");
  else if (data.type === "mute") link.muted = data.on;
  else if (data.type === "digits") link.exchange?.press(data.digits);
  else link.hangUp();
};

/** A two-way call: a handler speaks when it wants to, and is told what was heard. */

import { decode } from "../audio/g711.js";
import { Playing } from "../audio/playing.js";

const LOUD = 100; // of 32768: what is below is silence, at -50 dB
const ASK_MS = 1000; // between two looks at whether the service answers
const ASKED_MS = 3000; // it has this long to answer
const SILENCE_MS = 2500; // the page is told of a longer silence, and of its end
const LOST_MS = 10_000; // a service that answers nothing for this long is lost

/**
 * A handler may be silent for long, and a browser cannot ping. So whether the service is there is
 * asked over HTTP: any answer will do.
 *
 * @implements {Exchange}
 */
export class TwoWay {
  /**
   * @param {Wire} wire
   * @param {OpenOrder} order
   */
  constructor(wire, { reply, rate, facts, player }) {
    this.wire = wire;
    this.reply = reply;
    this.facts = facts;
    this.player = player;
    this.playing = new Playing(rate); // what the pictures show
    this.lost = 0; // no frame has a reply to wait for
    this.answeredAt = this.askedAt = performance.now();
    this.silent = false;
    player?.postMessage({ voice: true });
    if (player) player.onmessage = ({ data }) => this.heard(data);
  }

  /**
   * Show what was sent and what is heard meanwhile.
   * @param {Int16Array} pcm
   */
  sent(pcm) {
    const received = this.playing.pull(pcm.length);
    for (const mark of this.playing.reached()) if (!this.player) this.heard({ mark });
    const speaking = received.some((sample) => Math.abs(sample) >= LOUD);
    const audio = [pcm.buffer, received.buffer];
    this.wire.report({ type: "talk", sent: pcm, received, speaking }, audio);
  }

  /** @param {ArrayBuffer} message */
  receive(message) {
    const pcm = decode(message, this.reply);
    this.playing.push(pcm);
    this.player?.postMessage(pcm);
  }

  /**
   * Obey an event; a later version may send others than this page knows.
   * @param {HandlerEvent} event
   */
  note(event) {
    if (event.type === "mark") {
      this.playing.marks.add(event.name);
      this.player?.postMessage({ mark: event.name });
    } else if (event.type === "clear") {
      const cleared = this.playing.clear();
      if (this.player) this.player.postMessage({ clear: true });
      else this.heard({ cleared });
    } else if (event.type === "digits" || event.type === "message") {
      this.wire.report({ type: "event", event });
    }
  }

  /**
   * Tell the service what was heard.
   * @param {PlayerReport} report
   */
  heard(report) {
    if ("mark" in report) this.wire.say({ type: "mark", name: report.mark });
    else {
      this.wire.say({ type: "cleared", milliseconds: report.cleared });
      this.wire.report({ type: "event", event: { type: "cleared", milliseconds: report.cleared } });
    }
  }

  /** @param {string} digits */
  press(digits) {
    this.wire.say({ type: "digits", digits });
  }

  look() {
    const now = performance.now();
    if (now - this.askedAt > ASK_MS) this.ask(now);
    const silence = now - this.answeredAt;
    if (silence > SILENCE_MS) this.tell(silence);
    if (silence > LOST_MS) this.wire.giveUp();
  }

  /** @param {number} now */
  async ask(now) {
    this.askedAt = now;
    try {
      await fetch(this.facts, { cache: "no-store", signal: AbortSignal.timeout(ASKED_MS) });
    } catch {
      return;
    }
    this.answeredAt = performance.now();
    if (this.silent) this.tell(0);
  }

  /**
   * Tell the page for how long the service has not answered; 0 when it does again.
   * @param {number} silence
   */
  tell(silence) {
    this.silent = silence > 0;
    this.wire.report({ type: "silence", seconds: silence / 1000, waiting: null });
  }

  leave() {
    this.wire.close();
  }
}

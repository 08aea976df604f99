/** Keeps a call on the line: connects, reconnects after a loss, and hangs up when told to. */

import { AudioError } from "../audio/devices.js";
import { askServer, audioUrl } from "../server.js";
import { Backoff } from "./backoff.js";
import { Call } from "./call.js";
import { explainEnding, explainRefusal, YOU_HUNG_UP } from "./endings.js";
import { Measured, seconds } from "./measured.js";
import { request } from "./settings.js";

/** The close codes after which another try helps, as in service/client/stream.py. */
const RECONNECT_CODES = [1001, 1006, 1012, 1013];
/** A further try does not help against these; the person has to change something. */
const FINAL_REFUSALS = ["unauthorized", "origin"];
/** @type {Record<number, string>} */
const STATES = { 1000: "idle", 1001: "warn" };

const HUNG_UP = "hung up";
const REPLACED = "replaced";

/**
 * Return after `wait` seconds, or as soon as `signal` is aborted.
 * @param {number} wait
 * @param {AbortSignal} signal
 */
function pause(wait, signal) {
  return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
    const timer = setTimeout(resolve, 1000 * wait);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export class Caller {
  /**
   * `on.say` shows the person the call's state in words. `on.open` follows each connection,
   * `on.started` the service's first event, `on.heard` each frame of a two-way call, `on.said`
   * each of its events. `on.over` comes last.
   * @param {CallerEvents} on
   */
  constructor(on) {
    this.on = on;
    /** @type {Call | null} */
    this.call = null; // once it is connected
    /** @type {AbortController | null} */
    this.turn = null; // the AbortController of what goes on now
    /** @type {Promise<void>} */
    this.over = Promise.resolve();
  }

  /** Whether a call is on the line, or tries to be. */
  get busy() {
    return this.turn !== null;
  }

  /**
   * Begin a call with these settings; one on the line ends first.
   * @param {CallSettings} settings
   */
  async connect(settings) {
    this.turn?.abort(REPLACED);
    const turn = (this.turn = new AbortController());
    this.on.say("connecting", { title: "Connecting\u2026" });
    await this.over;
    this.over = this.carry(settings, turn.signal).finally(() => {
      if (this.turn === turn) this.turn = null;
    });
  }

  /** End what goes on, and return when it is over. */
  async hangUp() {
    this.turn?.abort(HUNG_UP);
    await this.over;
  }

  /**
   * Carry a call, reconnect as often as needed, and say how the call ended.
   * @param {CallSettings} settings
   * @param {AbortSignal} signal
   */
  async carry(settings, signal) {
    const measured = new Measured(settings.rate);
    const backoff = new Backoff();
    /** @type {number | null} */
    let lostAt = null;
    let lost = ""; // how the last call ended that was connected
    for (let tries = 1; !signal.aborted; tries++) {
      const ending = await this.attempt(settings, measured, lostAt, signal);
      if (signal.aborted) break;
      if (ending.opened) {
        lostAt = seconds();
        tries = 1;
      }
      const { words, state, atLeast } = await judge(ending, settings.token, lostAt !== null);
      if (signal.aborted) break;
      if (ending.opened) lost = `${words.title}. ${words.what}`;
      const wait = atLeast === null ? null : backoff.afterFailure(atLeast, measured.frames);
      if (wait === null) {
        this.finish(state, words);
        return;
      }
      const reason = ending.opened ? "" : `${words.what} `;
      const todo = `${reason}Try ${tries} in ${wait.toFixed(1)} s.`;
      this.on.say("warn", { title: "Reconnecting", what: lost, todo });
      await pause(wait, signal);
    }
    if (signal.reason === HUNG_UP) this.finish("idle", YOU_HUNG_UP);
    else this.on.over();
  }

  /**
   * @param {string} state
   * @param {Words} words
   */
  finish(state, words) {
    this.turn = null;
    this.on.over();
    this.on.say(state, words);
  }

  /**
   * Return how one connection ended, or `{ error }` where it could not even be tried.
   * @param {CallSettings} settings
   * @param {Measured} measured
   * @param {number | null} lostAt
   * @param {AbortSignal} signal
   * @returns {Promise<Outcome>}
   */
  async attempt(settings, measured, lostAt, signal) {
    const lost = measured.lost;
    /** @type {Words} */
    const live = { title: "Connected" };
    const call = new Call(settings, measured, {
      open: () => {
        this.call = call;
        if (lostAt !== null) {
          const gone = (seconds() - lostAt).toFixed(1);
          live.what = `Reconnected after ${gone} s. Frames lost so far: ${lost}.`;
        }
        this.on.open(call);
        this.on.say("live", live);
      },
      started: (/** @type {Started} */ event) => this.on.started(event),
      heard: (/** @type {boolean} */ speaking) => this.on.heard(speaking),
      said: (/** @type {Said} */ event) => this.on.said(event),
      silence: (/** @type {Silence} */ silence) => {
        if (signal.aborted) return;
        if (silence.seconds) this.on.say("warn", silent(silence));
        else this.on.say("live", live);
      },
    });
    const close = () => call.close();
    signal.addEventListener("abort", close);
    const [query, protocols] = request(settings);
    try {
      return await call.run(audioUrl(`${query}&events=json`), protocols);
    } catch (error) {
      return { opened: false, error: /** @type {Error} */ (error) };
    } finally {
      signal.removeEventListener("abort", close);
      this.call = null;
    }
  }
}

/** @param {Silence} silence */
function silent({ seconds: passed, waiting }) {
  const frames = waiting === null ? "" : `; ${waiting} frames wait for a reply`;
  return {
    title: `No ${waiting === null ? "answer" : "reply"} for ${Math.round(passed)} s`,
    what: `The service does not answer${frames}.`,
    todo: "After 10 s this page connects anew.",
  };
}

/**
 * Return the words for an ending, and the least wait before the next try; null is no try.
 * @param {Outcome} ending
 * @param {string} token
 * @param {boolean} reconnecting
 * @returns {Promise<{ words: Words, state: string, atLeast: number | null }>}
 */
async function judge(ending, token, reconnecting) {
  if (ending.error instanceof AudioError) return broken(ending.error);
  if (ending.opened) {
    const atLeast = RECONNECT_CODES.includes(ending.code) ? 0 : null;
    return { words: explainEnding(ending), state: STATES[ending.code] ?? "bad", atLeast };
  }
  // A browser hides from a page why an upgrade failed, and why a worker did not load.
  const facts = await askServer(token);
  if (ending.error && facts !== null) return broken(ending.error);
  const final = !reconnecting || FINAL_REFUSALS.includes(facts?.refusal);
  const atLeast = final ? null : (facts?.retry_after ?? 0);
  return { words: explainRefusal(facts), state: "bad", atLeast };
}

/** @param {Error} error */
function broken(error) {
  return { words: { title: "Not connected", what: error.message }, state: "bad", atLeast: null };
}

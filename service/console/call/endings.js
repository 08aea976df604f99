/** How a call ends, in plain words: what happened, and what to do about it. */

const LOOK =
  "Look whether the service still runs (/health), and at the network and proxies in between; " +
  "then connect again.";

/** @type {Record<number, [string, string]>} */
const BY_CODE = {
  1000: ["The service hung up: the handler has said all.", "Connect to begin another call."],
  1001: [
    "The service is going away: it is being restarted or replaced.",
    "Connect again; another instance takes the call as soon as one is ready.",
  ],
  1002: [
    "The service was sent a broken WebSocket frame.",
    "Something between this page and the service changes what is sent; look at the proxies.",
  ],
  1003: [
    "The service was sent text, or half a 16-bit sample.",
    "What is sent has to be binary, and in PCM16 an even number of bytes.",
  ],
  1006: ["The connection was lost without a close frame.", LOOK],
  1007: ["The service was sent text that is not UTF-8.", "What is sent has to be binary."],
  1008: [
    "The service heard no audio for its idle time, or an operator ended the call.",
    "Connect again; a muted call keeps sending silence, a sleeping computer does not.",
  ],
  1009: [
    "A frame was larger than the service takes.",
    "Choose shorter frames or a lower sample rate, or raise RT_AUDIO_MAX_FRAME_BYTES.",
  ],
  1011: [
    "The service failed: this is a bug of ours, or of the handler.",
    "Look what the service's log says: call_failed is ours to be told of, handler_failed yours.",
  ],
};

/** @type {Words} */
export const YOU_HUNG_UP = {
  title: "Disconnected",
  what: "You hung up.",
  todo: "Nothing to do. Connect to begin another call.",
};

/** @type {Record<string, [string, string]>} */
const BY_REFUSAL = {
  unauthorized: [
    "The service refused the token.",
    "Enter one of the tokens in the service's RT_AUDIO_TOKENS_FILE.",
  ],
  origin: [
    "The service refused this page's origin.",
    "A proxy gives the service another Host than the browser sees: have it pass Host on, " +
      "or list this origin in RT_AUDIO_ALLOWED_ORIGINS.",
  ],
  at_capacity: [
    "The service is full.",
    "Connect again when a call has ended, or raise RT_AUDIO_MAX_SESSIONS.",
  ],
  too_many_sessions: [
    "This token or this address has as many calls as it may have.",
    "Connect again when one has ended, or raise RT_AUDIO_MAX_SESSIONS_PER_TOKEN or _PER_ADDRESS.",
  ],
  too_many_upgrades: [
    "This token or this address began too many calls within a second.",
    "Connect again in a second.",
  ],
  draining: [
    "The service is draining and takes no new calls.",
    "Connect again in a moment; another instance takes the call as soon as one is ready.",
  ],
};

/**
 * Return { title, what, todo } for a call that was connected and has ended.
 * @param {{ code: number, reason: string, unanswered?: boolean }} ending
 */
export function explainEnding({ code, reason, unanswered = false }) {
  if (unanswered) {
    return { title: "No reply for 10 s", what: "The service stopped answering.", todo: LOOK };
  }
  const [what, todo] = BY_CODE[code] ?? [
    code >= 3000 && code <= 4999
      ? "The handler ended the call with a code of its own."
      : "The call was closed with a code that this page does not know.",
    "Look at the service's log for session_ended.",
  ];
  const said = reason ? ` It said: \u201c${reason}\u201d.` : "";
  return { title: code === 1000 ? "Disconnected" : `Closed with ${code}`, what: what + said, todo };
}

/**
 * Return { title, what, todo } for an upgrade that failed.
 *
 * A browser tells its page only the code 1006. So the page asks for server.json afterwards:
 * `facts` is the answer, or null without an answer.
 * @param {Facts | null} facts
 */
export function explainRefusal(facts) {
  const title = "Not connected";
  if (facts === null) {
    return {
      title,
      what: "The service does not answer.",
      todo: "Start it, or wait until it is back; then connect again.",
    };
  }
  const [what, todo] = BY_REFUSAL[facts.refusal ?? ""] ?? [
    "The upgrade to a WebSocket failed, though the service answers and would take the call now.",
    "Connect again. If that fails too, something in between does not pass WebSockets on: " +
      "look at the proxies.",
  ];
  return { title, what, todo };
}

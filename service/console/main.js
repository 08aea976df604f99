/** The console: wires the form, the call, the pictures and the tabs together. */

import { secure, speaker } from "./audio/devices.js";
import { BotView } from "./bot-view.js";
import { CallView } from "./call-view.js";
import { Caller } from "./call/caller.js";
import { request, Settings } from "./call/settings.js";
import { snippets } from "./call/snippets.js";
import { button, byId, show } from "./page.js";
import { askServer, audioUrl } from "./server.js";
import { ServiceView } from "./service-view.js";
import { Tabs } from "./tabs.js";

const CLEAR =
  "Nothing is played: a browser plays live audio only on pages that come over https " +
  "or from localhost.";

const form = /** @type {CallForm} */ (byId("settings"));
const view = new CallView(Number(form.buffer.value));
const bot = new BotView();
const service = new ServiceView();
const caller = new Caller({
  say,
  /** @param {Call} call */
  open(call) {
    mute(false);
    call.aim(settings.values().bufferMs);
    view.begin(call);
  },
  started({ id, codec, handler }) {
    answers(handler);
    if (handler) bot.begin((digits) => caller.call?.press(digits));
    byId("session").textContent = id;
    byId("session-copied").textContent = "";
    button("copy-session").disabled = false;
    show("codec", codec);
  },
  heard: (speaking) => bot.heard(speaking),
  said: (event) => bot.note(event),
  over() {
    view.finish();
    bot.finish();
  },
});
const settings = new Settings(form, {
  busy: () => caller.busy,
  changed() {
    describe();
    if (caller.busy) connect();
  },
  submitted() {
    if (!caller.busy) connect();
  },
  /** @param {number} bufferMs */
  aimed(bufferMs) {
    view.targetMs = bufferMs;
    caller.call?.aim(bufferMs);
  },
});

/**
 * Say where the call stands; `state` is one of the style sheet's.
 * @param {string} state
 * @param {Words} words
 */
function say(state, { title, what = "", todo = "" }) {
  byId("state").dataset.state = state;
  byId("state-title").textContent = title;
  byId("state-what").textContent = what || (state === "live" && !secure ? CLEAR : "");
  byId("state-todo").textContent = todo;
  byId("connect").textContent = caller.busy ? "Disconnect" : "Connect";
  byId("connect").dataset.live = String(caller.busy);
  button("mute").disabled = !caller.call;
}

async function connect() {
  const obstacle = settings.obstacle();
  if (!obstacle) {
    caller.connect(settings.values());
    return;
  }
  await caller.hangUp();
  say("warn", { title: "Not connected", what: obstacle });
}

/**
 * Show what belongs to calls that a handler answers, or to those of the echo.
 * @param {boolean} handler
 */
function answers(handler) {
  bot.show(handler);
  view.show(handler);
}

/** @param {boolean} on */
function mute(on) {
  caller.call?.mute(on);
  byId("mute").setAttribute("aria-pressed", String(on));
  byId("mute").textContent = on ? "Muted" : "Mute";
}

/** Sound is off for the microphone until the person says otherwise; it would hear itself. */
const audible = { microphone: false, other: true };
const kind = () => (settings.values().source === "microphone" ? "microphone" : "other");

function listen() {
  const on = audible[kind()];
  form.sound.checked = on;
  speaker.listen(on);
  byId("sound-note").textContent =
    kind() === "other"
      ? ""
      : on
        ? "With headphones on, the microphone does not hear this."
        : "Silent, so that the microphone does not hear itself. " +
          "Put headphones on, then switch this on.";
}

/** Put the current settings into words and into the snippets. */
function describe() {
  const values = settings.values();
  const names = { pcm16: "PCM16", ulaw: "mu-law", alaw: "A-law" };
  byId("wire-summary").textContent =
    `\u2013 ${names[values.encoding]} \u2192 ${names[values.reply]}, ` +
    `${values.rate / 1000} kHz, ${values.frameMs} ms`;
  const [query] = request({ ...values, token: "" });
  for (const [name, text] of Object.entries(snippets(values, audioUrl(query)))) {
    byId(`snippet-${name}`).textContent = text;
  }
  listen();
}

/**
 * Copy an element's text; where the browser forbids that, select it for the person to copy.
 * @param {HTMLElement} element
 * @param {HTMLElement} note
 */
async function copy(element, note) {
  note.textContent = "";
  try {
    await navigator.clipboard.writeText(element.textContent);
    note.textContent = "Copied.";
  } catch {
    getSelection()?.selectAllChildren(element);
    note.textContent = "Selected: press Ctrl+C to copy.";
  }
}

/** Close an explanation on Escape; it opens when the pointer or the focus comes to its term. */
function explainTerms() {
  for (const term of document.querySelectorAll(".term")) {
    const open = () => term.classList.remove("closed");
    for (const type of ["pointerenter", "focus", "click"]) term.addEventListener(type, open);
  }
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    for (const term of document.querySelectorAll(".term")) term.classList.add("closed");
  });
}

function acceptDrops() {
  let depth = 0; // of the elements that a drag has entered and not left
  const over = (/** @type {number} */ change) => (/** @type {DragEvent} */ event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth += change;
    byId("drop").hidden = depth <= 0;
  };
  addEventListener("dragenter", over(1));
  addEventListener("dragleave", over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    byId("drop").hidden = true;
    settings.take(event.dataTransfer?.files[0]);
  });
}

byId("connect").addEventListener("click", () => {
  if (caller.busy) caller.hangUp();
  else connect();
});
byId("mute").addEventListener("click", () =>
  mute(byId("mute").getAttribute("aria-pressed") !== "true"),
);
byId("copy").addEventListener("click", () =>
  copy(/** @type {HTMLElement} */ (document.querySelector("pre:not([hidden])")), byId("copied")),
);
byId("copy-session").addEventListener("click", () => copy(byId("session"), byId("session-copied")));
form.sound.addEventListener("change", () => {
  audible[kind()] = form.sound.checked;
  listen();
});

const views = new Tabs(byId("views"), (tab) => {
  history.replaceState(
    null,
    "",
    tab.id === "tab-service" ? "#service" : location.pathname + location.search,
  );
});
new Tabs(byId("snippets"));
acceptDrops();
explainTerms();
service.start();
/** @type {HTMLDetailsElement} */ (byId("wire")).open = matchMedia("(min-width: 58.01rem)").matches;
describe();
if (location.hash === "#service") views.select(byId("tab-service"));

const facts = await askServer("");
if (facts) {
  byId("version").textContent = facts.version;
  settings.offer(facts);
  answers(facts.handler);
  // A bot is there to be heard, and the browser keeps it out of the microphone.
  audible.microphone = facts.handler;
  describe();
}

/** The panel of a two-way call: whether the bot speaks, what it says in text, and the keys. */

import { byId } from "./page.js";

const MOST_LINES = 50;
const MOST_CHARACTERS = 500;
const LAMP_MS = 300; // it stays on so long between two words

/** @type {Record<Said["type"], (event: any) => string>} */
const WORDS = {
  message: ({ message }) => JSON.stringify(message),
  digits: ({ digits }) => digits,
  cleared: ({ milliseconds }) => `${(milliseconds / 1000).toFixed(2)} s of the call were heard`,
};

export class BotView {
  /** `press(digits)` sends keys, and is there during a call only. */
  constructor() {
    /** @type {((digits: string) => void) | null} */
    this.press = null;
    byId("keypad").addEventListener("click", ({ target }) => {
      if (!(target instanceof HTMLButtonElement)) return;
      this.press?.(target.value);
      this.line("you", target.value);
    });
    this.finish();
  }

  /**
   * Show the page for calls that a handler answers, or for those of the echo.
   * @param {boolean} handler
   */
  show(handler) {
    byId("view-call").dataset.answers = handler ? "handler" : "echo";
  }

  /** @param {(digits: string) => void} press */
  begin(press) {
    byId("said").replaceChildren();
    this.press = press;
    for (const key of this.keys()) key.disabled = false;
  }

  finish() {
    this.press = null;
    for (const key of this.keys()) key.disabled = true;
    this.speaks(false);
  }

  keys() {
    return /** @type {NodeListOf<HTMLButtonElement>} */ (
      byId("keypad").querySelectorAll("button")
    );
  }

  /** @param {boolean} speaking */
  heard(speaking) {
    if (!speaking) return;
    this.speaks(true);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.speaks(false), LAMP_MS);
  }

  /** @param {boolean} on */
  speaks(on) {
    const lamp = byId("lamp");
    lamp.dataset.on = String(on);
    lamp.textContent = on ? "The bot speaks" : "The bot is silent";
  }

  /** @param {Said} event */
  note(event) {
    this.line(event.type, WORDS[event.type](event));
  }

  /**
   * @param {string} kind
   * @param {string} text
   */
  line(kind, text) {
    const list = byId("said");
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = kind;
    item.append(name, ` ${text.slice(0, MOST_CHARACTERS)}`);
    list.append(item);
    while (list.children.length > MOST_LINES) list.firstElementChild?.remove();
    list.scrollTop = list.scrollHeight;
  }
}

/** Tabs after the WAI-ARIA pattern: one stop for Tab, arrows, Home and End move and select. */

import { byId } from "./page.js";

export class Tabs {
  /**
   * `list` is the tablist; each of its tabs names its panel; `shown(tab)` follows a selection.
   * @param {HTMLElement} list
   * @param {(tab: Element) => void} [shown]
   */
  constructor(list, shown = (_tab) => {}) {
    this.tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
    this.shown = shown;
    list.addEventListener("click", ({ target }) =>
      this.select(/** @type {HTMLElement} */ (target).closest("[role=tab]")),
    );
    list.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const at = this.tabs.findIndex((tab) => tab === document.activeElement);
    const last = this.tabs.length - 1;
    const steps = /** @type {Record<string, number>} */ ({
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last,
    });
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.select(this.tabs[next]);
    this.tabs[next].focus();
  }

  /** @param {Element | null} chosen */
  select(chosen) {
    if (!chosen) return;
    for (const tab of this.tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = tab !== chosen;
    }
    this.shown(chosen);
  }
}

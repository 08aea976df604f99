/** Tabs after the WAI-ARIA pattern: one stop for Tab, arrows, Home and End move and select. */

export class Tabs {
  /** `list` is the tablist; each of its tabs names its panel; `shown(tab)` follows a selection. */
  constructor(list, shown = () => {}) {
    this.tabs = [...list.querySelectorAll("[role=tab]")];
    this.shown = shown;
    list.addEventListener("click", ({ target }) => this.select(target.closest("[role=tab]")));
    list.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const at = this.tabs.indexOf(document.activeElement);
    const last = this.tabs.length - 1;
    const next = {
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.select(this.tabs[next]);
    this.tabs[next].focus();
  }

  select(chosen) {
    if (!chosen) return;
    for (const tab of this.tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    this.shown(chosen);
  }
}

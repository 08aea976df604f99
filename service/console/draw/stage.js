/**
 * Where the plots are drawn: one animation loop for all of them, at the screen's own resolution.
 *
 * A canvas is drawn only while it is in view and something moves. Whoever asked for less motion
 * gets two pictures a second.
 */

const CALM_MS = 500;
const COLOURS = /** @type {const} */ ([
  "ink",
  "muted",
  "grid",
  "panel",
  "well",
  "sent",
  "received",
  "error",
  "good",
  "warn",
  "bad",
]);

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The style sheet's colours and font, for canvases. */
export const theme = /** @type {Record<Colour | "font", string>} */ ({});

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of COLOURS) theme[name] = style.getPropertyValue(`--${name}`).trim();
  theme.font = `11px ${getComputedStyle(document.body).fontFamily}`;
}

/** One canvas; `draw(context, width, height, now)` gets CSS pixels and a cleared canvas. */
class Plot {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Draw} draw
   * @param {number} everyMs
   */
  constructor(canvas, draw, everyMs) {
    this.canvas = canvas;
    this.draw = draw;
    this.everyMs = everyMs;
    this.drawnAt = 0;
    this.context = /** @type {Pen} */ (canvas.getContext("2d"));
    this.width = this.height = 0;
    this.visible = this.stale = false;
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.stale = true;
  }

  /** @param {number} now */
  paint(now) {
    this.stale = false;
    this.drawnAt = now;
    this.context.clearRect(0, 0, this.width, this.height);
    this.context.font = theme.font;
    this.draw(this.context, this.width, this.height, now);
  }
}

export class Stage {
  constructor() {
    /** @type {Map<Element, Plot>} */
    this.plots = new Map();
    this.running = false;
    /** @type {number | null} */
    this.pending = null;
    this.tick = this.tick.bind(this);
    readTheme();
    dark.addEventListener("change", () => {
      readTheme();
      this.refresh();
    });
    this.sizes = new ResizeObserver((entries) => this.resized(entries));
    this.views = new IntersectionObserver((entries) => this.seen(entries));
  }

  /**
   * Draw a canvas; what moves slowly needs a picture only every so many milliseconds.
   * @param {HTMLElement} element
   * @param {Draw} draw
   * @param {number} [everyMs]
   */
  add(element, draw, everyMs = 0) {
    const canvas = /** @type {HTMLCanvasElement} */ (element);
    this.plots.set(canvas, new Plot(canvas, draw, everyMs));
    this.sizes.observe(canvas);
    this.views.observe(canvas);
  }

  /** @param {ResizeObserverEntry[]} entries */
  resized(entries) {
    for (const { target, contentRect } of entries) {
      this.plots.get(target)?.resize(contentRect.width, contentRect.height);
    }
    this.wake();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const plot = this.plots.get(target);
      if (!plot) continue;
      plot.visible = isIntersecting;
      plot.stale = true;
    }
    this.wake();
  }

  /**
   * Draw continually, or only what is stale.
   * @param {boolean} running
   */
  run(running) {
    this.running = running;
    this.refresh();
  }

  /** Draw everything once more. */
  refresh() {
    for (const plot of this.plots.values()) plot.stale = true;
    this.wake();
  }

  wake() {
    this.pending ??= requestAnimationFrame(this.tick);
  }

  /** @param {number} now */
  tick(now) {
    this.pending = null;
    for (const plot of this.plots.values()) {
      const pause = calm.matches ? CALM_MS : plot.everyMs;
      const due = this.running && now - plot.drawnAt >= pause;
      if (plot.visible && plot.width > 0 && (due || plot.stale)) plot.paint(now);
    }
    if (this.running) this.wake();
  }
}

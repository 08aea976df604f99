/**
 * Where the plots are drawn: one animation loop for all of them, at the screen's own resolution.
 *
 * A canvas is drawn only while it is in view and something moves. Whoever asked for less motion
 * gets two pictures a second.
 */

const CALM_MS = 500;
const COLOURS = [
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
];

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The style sheet's colours and font, for canvases. */
export const theme = {};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of COLOURS) theme[name] = style.getPropertyValue(`--${name}`).trim();
  theme.font = `11px ${getComputedStyle(document.body).fontFamily}`;
}

/** One canvas; `draw(context, width, height, now)` gets CSS pixels and a cleared canvas. */
class Plot {
  constructor(canvas, draw, everyMs) {
    this.canvas = canvas;
    this.draw = draw;
    this.everyMs = everyMs;
    this.drawnAt = 0;
    this.context = canvas.getContext("2d");
    this.width = this.height = 0;
    this.visible = this.stale = false;
  }

  resize(width, height) {
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.stale = true;
  }

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
    this.plots = new Map();
    this.running = false;
    this.tick = this.tick.bind(this);
    readTheme();
    dark.addEventListener("change", () => {
      readTheme();
      this.refresh();
    });
    this.sizes = new ResizeObserver((entries) => this.resized(entries));
    this.views = new IntersectionObserver((entries) => this.seen(entries));
  }

  /** Draw a canvas; what moves slowly needs a picture only every so many milliseconds. */
  add(canvas, draw, everyMs = 0) {
    this.plots.set(canvas, new Plot(canvas, draw, everyMs));
    this.sizes.observe(canvas);
    this.views.observe(canvas);
  }

  resized(entries) {
    for (const { target, contentRect } of entries) {
      this.plots.get(target).resize(contentRect.width, contentRect.height);
    }
    this.wake();
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const plot = this.plots.get(target);
      plot.visible = isIntersecting;
      plot.stale = true;
    }
    this.wake();
  }

  /** Draw continually, or only what is stale. */
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

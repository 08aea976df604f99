/** Values over time: lines, reference lines, marks; the newest at the right edge. */

import { theme } from "./stage.js";

const MARGIN = { left: 50, right: 40, top: 8, bottom: 16 };
const LABEL_PIXELS = 12;
const MARK_PIXELS = 14;

export class Timeline {
  /** @param {TimelineOptions} options */
  constructor(options) {
    this.options = options;
    this.top = options.high;
    /** @type {Series | null} */
    this.marks = null; // values that `markColours` has colours for
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    const now = this.options.clock();
    const since = now - this.options.seconds;
    this.fit(since);
    const plot = height - MARGIN.top - MARGIN.bottom;
    /** @param {number} time */
    const x = (time) =>
      MARGIN.left + ((width - MARGIN.left - MARGIN.right) * (time - since)) / this.options.seconds;
    /** @param {number} value */
    const y = (value) => MARGIN.top + plot * (1 - this.share(value));
    this.axis(context, width, y);
    this.timeAxis(context, width, height);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, width - MARGIN.left - MARGIN.right, height - MARGIN.bottom + 1);
    context.clip();
    if (this.marks) this.mark(this.marks, context, since, x, height);
    for (const line of this.options.lines()) {
      if (line.filled) area(context, line, since, x, y);
      curve(context, line, since, x, y);
    }
    context.restore();
    drawLevels(context, this.options.levels?.() ?? [], width, y);
  }

  /**
   * Let a linear axis hold the largest value in view, at a round number.
   * @param {number} since
   */
  fit(since) {
    if (this.options.log) return;
    let most = this.options.high;
    for (const { series } of this.options.lines()) {
      series.since(since, (_, value) => {
        if (value > most) most = value;
      });
    }
    this.top = most > this.options.high ? rounded(most) : this.options.high;
  }

  /** @param {number} value */
  share(value) {
    const { log, low, high } = this.options;
    const share = log
      ? Math.log(value / low) / Math.log(high / low)
      : (value - low) / (this.top - low);
    return Math.max(0, Math.min(1, share));
  }

  ticks() {
    if (!this.options.log)
      return [0, 1, 2, 3, 4].map((i) => this.options.low + (i * (this.top - this.options.low)) / 4);
    const decades = [];
    for (let value = this.options.low; value <= this.options.high * 1.001; value *= 10)
      decades.push(value);
    return decades;
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {Scale} y
   */
  axis(context, width, y) {
    context.strokeStyle = theme.grid;
    context.fillStyle = theme.muted;
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.beginPath();
    for (const value of this.ticks()) {
      const at = Math.round(y(value)) + 0.5;
      context.moveTo(MARGIN.left, at);
      context.lineTo(width - MARGIN.right, at);
      context.fillText(this.options.format(value), MARGIN.left - 6, at);
    }
    context.stroke();
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {number} height
   */
  timeAxis(context, width, height) {
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillText(`\u2212${this.options.seconds} s`, MARGIN.left, height - 3);
    context.textAlign = "right";
    context.fillText("now", width - MARGIN.right, height - 3);
  }

  /**
   * @param {Series} marks
   * @param {Pen} context
   * @param {number} since
   * @param {Scale} x
   * @param {number} height
   */
  mark(marks, context, since, x, height) {
    marks.since(since, (time, kind) => {
      const bottom = height - MARGIN.bottom;
      context.fillStyle = theme[this.options.markColours?.[kind] ?? "bad"];
      context.globalAlpha = 0.2;
      context.fillRect(x(time) - 1, MARGIN.top, 2, bottom - MARGIN.top);
      context.globalAlpha = 1;
      context.fillRect(x(time) - 1, bottom - MARK_PIXELS, 2, MARK_PIXELS);
    });
  }
}

/**
 * Return the next 1, 2, 4 or 8 times a power of ten from `value` up: its quarter is short.
 * @param {number} value
 */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4, 8].find((each) => each * power >= value) ?? 10);
}

/**
 * Draw a line; a value that is no number interrupts it.
 * @param {Pen} context
 * @param {Line} line
 * @param {number} since
 * @param {Scale} x
 * @param {Scale} y
 */
function curve(context, { series, colour, dashed, width = 1.5 }, since, x, y) {
  context.strokeStyle = theme[colour];
  context.lineWidth = width;
  context.lineJoin = context.lineCap = "round";
  context.setLineDash(dashed ? [4, 3] : []);
  context.beginPath();
  let joined = false;
  series.since(since, (time, value) => {
    const drawn = Number.isFinite(value);
    if (drawn && joined) context.lineTo(x(time), y(value));
    else if (drawn) {
      context.moveTo(x(time), y(value));
      context.lineTo(x(time), y(value)); // a value by itself is a dot
    }
    joined = drawn;
  });
  context.stroke();
  context.setLineDash([]);
}

/**
 * Fill what is below a line, lightly, and nothing where a value is no number.
 * @param {Pen} context
 * @param {Line} line
 * @param {number} since
 * @param {Scale} x
 * @param {Scale} y
 */
function area(context, { series, colour }, since, x, y) {
  let last = NaN;
  const close = () => {
    if (!Number.isNaN(last)) context.lineTo(last, y(0));
    last = NaN;
  };
  context.beginPath();
  series.since(since, (time, value) => {
    if (!Number.isFinite(value)) return close();
    if (Number.isNaN(last)) context.moveTo(x(time), y(0));
    context.lineTo((last = x(time)), y(value));
  });
  close();
  context.globalAlpha = 0.14;
  context.fillStyle = theme[colour];
  context.fill();
  context.globalAlpha = 1;
}

/**
 * Draw reference lines with labels at the right, kept apart where they would overlap.
 * @param {Pen} context
 * @param {Reference[]} levels
 * @param {number} width
 * @param {Scale} y
 */
function drawLevels(context, levels, width, y) {
  const shown = levels.filter(({ value }) => Number.isFinite(value));
  shown.sort((one, other) => y(other.value) - y(one.value));
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  context.lineCap = "butt";
  let free = Infinity;
  for (const { value, label, colour, dashed } of shown) {
    const at = Math.round(y(value)) + 0.5;
    const labelAt = Math.min(at, free - LABEL_PIXELS);
    free = labelAt;
    context.strokeStyle = context.fillStyle = theme[colour];
    context.setLineDash(dashed ? [3, 3] : []);
    context.beginPath();
    context.moveTo(MARGIN.left, at);
    context.lineTo(width - MARGIN.right, at);
    context.stroke();
    context.fillText(label, width - MARGIN.right + 5, labelAt);
  }
  context.setLineDash([]);
}

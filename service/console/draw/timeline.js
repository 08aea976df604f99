/** Values over time: lines, reference lines, marks; the newest at the right edge. */

import { theme } from "./stage.js";

const MARGIN = { left: 50, right: 40, top: 8, bottom: 16 };
const LABEL_PIXELS = 12;
const MARK_PIXELS = 14;

/**
 * `seconds`: how far back. `log`: a logarithmic axis from `low` to `high`; else it is linear from
 * `low` and grows beyond `high` as needed. `format(value)`: an axis label.
 * `lines()`: [{ series, colour, dots, dashed, filled, width }], colours by the theme's names;
 * `levels()`: [{ value, label, colour, dashed }]; `marks`: a Series of
 * which `markColours` has the colour of each value.
 */
export class Timeline {
  constructor(options) {
    Object.assign(this, { log: false, lines: () => [], levels: () => [], marks: null }, options);
    this.top = this.high;
  }

  draw(context, width, height) {
    const now = this.clock();
    const since = now - this.seconds;
    this.fit(since);
    const plot = height - MARGIN.top - MARGIN.bottom;
    const x = (time) =>
      MARGIN.left + ((width - MARGIN.left - MARGIN.right) * (time - since)) / this.seconds;
    const y = (value) => MARGIN.top + plot * (1 - this.share(value));
    this.axis(context, width, y);
    this.timeAxis(context, width, height);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, width - MARGIN.left - MARGIN.right, height - MARGIN.bottom + 1);
    context.clip();
    if (this.marks) this.mark(context, since, x, height);
    for (const line of this.lines()) {
      if (line.filled) area(context, line, since, x, y);
      curve(context, line, since, x, y);
    }
    context.restore();
    drawLevels(context, this.levels(), width, y);
  }

  /** Let a linear axis hold the largest value in view, at a round number. */
  fit(since) {
    if (this.log) return;
    let most = this.high;
    for (const { series } of this.lines()) {
      series.since(since, (_, value) => {
        if (value > most) most = value;
      });
    }
    this.top = most > this.high ? rounded(most) : this.high;
  }

  share(value) {
    const { low, high, top } = this;
    const share = this.log
      ? Math.log(value / low) / Math.log(high / low)
      : (value - low) / (top - low);
    return Math.max(0, Math.min(1, share));
  }

  ticks() {
    if (!this.log) return [0, 1, 2, 3, 4].map((i) => this.low + (i * (this.top - this.low)) / 4);
    const decades = [];
    for (let value = this.low; value <= this.high * 1.001; value *= 10) decades.push(value);
    return decades;
  }

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
      context.fillText(this.format(value), MARGIN.left - 6, at);
    }
    context.stroke();
  }

  timeAxis(context, width, height) {
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillText(`\u2212${this.seconds} s`, MARGIN.left, height - 3);
    context.textAlign = "right";
    context.fillText("now", width - MARGIN.right, height - 3);
  }

  mark(context, since, x, height) {
    this.marks.since(since, (time, kind) => {
      const bottom = height - MARGIN.bottom;
      context.fillStyle = theme[this.markColours[kind]];
      context.globalAlpha = 0.2;
      context.fillRect(x(time) - 1, MARGIN.top, 2, bottom - MARGIN.top);
      context.globalAlpha = 1;
      context.fillRect(x(time) - 1, bottom - MARK_PIXELS, 2, MARK_PIXELS);
    });
  }
}

/** Return the next 1, 2, 4 or 8 times a power of ten from `value` up: its quarter is short. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 8, 10].find((each) => each * power >= value);
}

/** Draw a line; a value that is no number interrupts it. */
function curve(context, { series, colour, dots, dashed, filled, width = 1.5 }, since, x, y) {
  context.strokeStyle = context.fillStyle = theme[colour];
  context.lineWidth = width;
  context.lineJoin = context.lineCap = "round";
  context.setLineDash(dashed ? [4, 3] : []);
  context.beginPath();
  let joined = false;
  series.since(since, (time, value) => {
    const drawn = Number.isFinite(value);
    if (drawn && dots) context.rect(x(time) - 1, y(value) - 1, 2, 2);
    else if (drawn && joined) context.lineTo(x(time), y(value));
    else if (drawn) {
      context.moveTo(x(time), y(value));
      context.lineTo(x(time), y(value)); // a value by itself is a dot
    }
    joined = drawn;
  });
  if (dots) context.fill();
  else context.stroke();
  context.setLineDash([]);
}

/** Fill what is below a line, lightly, and nothing where a value is no number. */
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

/** Draw reference lines with labels at the right, kept apart where they would overlap. */
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

/** The scope: what was sent, what came back, and the difference, one above the other. */

import { theme } from "./stage.js";

const LANES = { sent: "sent", received: "came back", error: "difference" };
const DIVISIONS = 8;
const TRIGGER_SECONDS = 0.05; // spans up to this are held still on a rising edge, as a scope does
const LARGEST_GAIN = 4096;

/** A right edge that moves evenly, though samples arrive a frame at a time. */
class Edge {
  constructor() {
    this.index = 0;
    this.seen = 0;
  }

  /**
   * @param {number} now
   * @param {number} rate
   * @param {number} total
   * @param {number} frameSamples
   */
  advance(now, rate, total, frameSamples) {
    const passed = Math.min(0.25, (now - this.seen) / 1000);
    this.seen = now;
    this.index += passed * rate;
    const wanted = total - frameSamples;
    if (Math.abs(wanted - this.index) > 0.2 * rate) this.index = wanted;
    this.index += (wanted - this.index) * Math.min(1, 4 * passed);
    return Math.max(0, Math.min(total, this.index));
  }
}

export class Waveform {
  /** `rings` has a SampleRing for each lane, or is null before the first call. */
  constructor() {
    this.spanSeconds = 4;
    /** @type {(keyof typeof LANES)[]} */
    this.names = ["sent", "received", "error"];
    this.edge = new Edge();
    this.gain = 1;
    /** @type {Rings | null} */
    this.rings = null;
    this.frameSamples = 0;
  }

  /**
   * @param {Rings} rings
   * @param {number} frameSamples
   */
  attach(rings, frameSamples) {
    this.rings = rings;
    this.frameSamples = frameSamples;
  }

  /**
   * @param {Pen} context
   * @param {number} width
   * @param {number} height
   * @param {number} now
   */
  draw(context, width, height, now) {
    const lane = height / this.names.length;
    this.names.forEach((_, at) => grid(context, width, at * lane, lane));
    if (this.rings && this.rings.sent.total > 0) this.lanes(this.rings, context, width, lane, now);
    this.names.forEach((name, at) => {
      const gain = name === "error" && this.gain > 1 ? ` \u00d7${this.gain}` : "";
      label(context, LANES[name] + gain, theme[name], 6, at * lane + 6);
    });
    const division = (1000 * this.spanSeconds) / DIVISIONS;
    label(context, `${division} ms a division`, theme.muted, width - 6, 6, "right");
  }

  /**
   * @param {Rings} rings
   * @param {Pen} context
   * @param {number} width
   * @param {number} lane
   * @param {number} now
   */
  lanes(rings, context, width, lane, now) {
    const { rate, total } = rings.sent;
    const edge = this.edge.advance(now, rate, total, this.frameSamples);
    const span = this.spanSeconds * rate;
    const from =
      this.spanSeconds > TRIGGER_SECONDS ? edge - span : triggered(rings.sent, edge, span);
    this.gain = this.errorGain(rings.error, from, span);
    this.names.forEach((name, at) => {
      const gain = name === "error" ? this.gain : 1;
      const scale = gain * lane * 0.46;
      const box = { width, middle: (at + 0.5) * lane, scale, limit: lane * 0.49 };
      context.fillStyle = context.strokeStyle = theme[name];
      trace(context, rings[name], from, span, box);
    });
  }

  /**
   * Return a power of two with which the largest error fits the lane; it seldom changes.
   * @param {SampleRing} error
   * @param {number} from
   * @param {number} span
   */
  errorGain(error, from, span) {
    const peak = extreme(error, from, from + span);
    if (peak === 0) return this.gain;
    const fitting = Math.min(LARGEST_GAIN, 2 ** Math.floor(Math.log2(1 / peak)));
    return fitting < this.gain || fitting > 2 * this.gain ? fitting : this.gain;
  }
}

/**
 * Return the start of the newest whole span that begins where the sent signal rises.
 * @param {SampleRing} sent
 * @param {number} edge
 * @param {number} span
 */
function triggered(sent, edge, span) {
  const newest = Math.floor(edge - span);
  const oldest = Math.max(sent.oldest + 1, newest - span);
  for (let at = newest; at > oldest; at--) {
    const before = sent.at(at - 1);
    if (before < 0 && sent.at(at) >= 0) return at - 1 + before / (before - sent.at(at));
  }
  return newest;
}

/**
 * @param {Pen} context
 * @param {number} width
 * @param {number} top
 * @param {number} height
 */
function grid(context, width, top, height) {
  context.strokeStyle = theme.grid;
  context.lineWidth = 1;
  context.beginPath();
  for (const share of [0.04, 0.27, 0.5, 0.73, 0.96]) {
    const y = Math.round(top + share * height) + 0.5;
    context.moveTo(0, y);
    context.lineTo(width, y);
  }
  for (let i = 1; i < DIVISIONS; i++) {
    const x = Math.round((i * width) / DIVISIONS) + 0.5;
    context.moveTo(x, top);
    context.lineTo(x, top + height);
  }
  context.stroke();
}

/**
 * @param {SampleRing} ring
 * @param {number} from
 * @param {number} to
 */
function extreme(ring, from, to) {
  let peak = 0;
  const bins = ring.low.length;
  const first = Math.max(
    Math.ceil(ring.oldest / ring.binSamples),
    Math.floor(from / ring.binSamples),
  );
  for (let bin = first; bin * ring.binSamples < Math.min(to, ring.total); bin++) {
    peak = Math.max(peak, ring.high[bin % bins], -ring.low[bin % bins]);
  }
  return peak;
}

/**
 * Write a text onto the background's colour, so that a trace underneath does not blur it.
 * @param {Pen} context
 * @param {string} text
 * @param {string} colour
 * @param {number} x
 * @param {number} y
 * @param {CanvasTextAlign} [align]
 */
function label(context, text, colour, x, y, align = "left") {
  const wide = context.measureText(text).width + 8;
  context.globalAlpha = 0.85;
  context.fillStyle = theme.well;
  context.fillRect(align === "left" ? x - 4 : x - wide + 4, y - 3, wide, 17);
  context.globalAlpha = 1;
  context.fillStyle = colour;
  context.textAlign = align;
  context.textBaseline = "top";
  context.fillText(text, x, y);
}

/**
 * Draw a line for few samples a pixel, their extremes for many, bins for most.
 * @param {Pen} context
 * @param {SampleRing} ring
 * @param {number} from
 * @param {number} span
 * @param {Box} box
 */
function trace(context, ring, from, span, box) {
  const perPixel = span / box.width;
  if (perPixel < 2) line(context, ring, from, span, box);
  else if (perPixel < ring.binSamples) columns(context, ring, from, perPixel, box);
  else outline(context, ring, from, span, box);
}

/**
 * @param {number} value
 * @param {Box} box
 */
function height(value, box) {
  return box.middle - Math.max(-box.limit, Math.min(box.limit, value * box.scale));
}

/**
 * @param {Pen} context
 * @param {SampleRing} ring
 * @param {number} from
 * @param {number} span
 * @param {Box} box
 */
function line(context, ring, from, span, box) {
  const perPixel = span / box.width;
  const first = Math.max(ring.oldest, Math.floor(from));
  const last = Math.min(ring.total - 1, Math.ceil(from + span));
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  for (let at = first; at <= last; at++) {
    context.lineTo((at - from) / perPixel, height(ring.at(at), box));
  }
  context.stroke();
}

/**
 * @param {Pen} context
 * @param {SampleRing} ring
 * @param {number} from
 * @param {number} perPixel
 * @param {Box} box
 */
function columns(context, ring, from, perPixel, box) {
  for (let x = 0; x < box.width; x++) {
    const first = Math.max(ring.oldest, Math.floor(from + x * perPixel));
    const last = Math.min(ring.total - 1, Math.floor(from + (x + 1) * perPixel));
    if (last < first) continue;
    let low = ring.at(first);
    let high = low;
    for (let at = first + 1; at <= last; at++) {
      const value = ring.at(at);
      if (value < low) low = value;
      else if (value > high) high = value;
    }
    const top = height(high, box) - 0.6;
    context.fillRect(x, top, 1.2, height(low, box) + 0.6 - top);
  }
}

/**
 * Rectangles one by one, which browsers rasterize twice as fast as a path of them all.
 * @param {Pen} context
 * @param {SampleRing} ring
 * @param {number} from
 * @param {number} span
 * @param {Box} box
 */
function outline(context, ring, from, span, box) {
  const { binSamples, low, high } = ring;
  const bins = low.length;
  const perPixel = span / box.width;
  const first = Math.max(Math.ceil(ring.oldest / binSamples) + 1, Math.floor(from / binSamples));
  const last = Math.min(Math.floor((ring.total - 1) / binSamples), (from + span) / binSamples);
  const wide = binSamples / perPixel + 0.3;
  for (let bin = first; bin <= last; bin++) {
    const top = height(high[bin % bins], box) - 0.6;
    const bottom = height(low[bin % bins], box) + 0.6;
    context.fillRect((bin * binSamples - from) / perPixel, top, wide, bottom - top);
  }
}

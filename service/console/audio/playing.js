/** What a handler says, on its way to be heard: audio and marks, in order. */

const CAPACITY_SECONDS = 10; // what comes is paced, so more than this waits after a stall only

/**
 * A queue that is played by whoever pulls, a frame at a time; it counts what was heard.
 *
 * The page draws from one, and where a browser plays nothing it takes the loudspeaker's place.
 */
export class Playing {
  /** @param {number} rate */
  constructor(rate) {
    this.rate = rate;
    /** @type {Int16Array[]} */
    this.frames = [];
    this.depth = this.played = 0; // in samples
    this.marks = new Marks();
  }

  /** @param {Int16Array} frame */
  push(frame) {
    this.frames.push(frame);
    this.depth += frame.length;
    this.marks.came += frame.length;
    while (this.depth > CAPACITY_SECONDS * this.rate) {
      this.depth -= /** @type {Int16Array} */ (this.frames.shift()).length;
    }
  }

  /**
   * Return the next samples, silence where there are none.
   * @param {number} count
   */
  pull(count) {
    const out = new Int16Array(count);
    let at = 0;
    while (at < count && this.frames.length > 0) {
      const [frame] = this.frames;
      const part = frame.subarray(0, count - at);
      out.set(part, at);
      at += part.length;
      if (part.length === frame.length) this.frames.shift();
      else this.frames[0] = frame.subarray(part.length);
    }
    this.depth -= at;
    this.played += at;
    return out;
  }

  /** Drop all that was not played, and return how many milliseconds were, in all. */
  clear() {
    this.frames = [];
    this.depth = 0;
    this.marks.clear();
    return (1000 * this.played) / this.rate;
  }

  /** Return the names of the marks that were reached since the last time. */
  reached() {
    return this.marks.reached(this.depth);
  }
}

/** Marks between samples that come; a mark is reached when all samples before it are played. */
export class Marks {
  constructor() {
    this.came = 0; // samples so far
    /** @type {{ at: number, name: string }[]} */
    this.waiting = [];
    this.last = 0;
  }

  /** @param {string} name */
  add(name) {
    this.last = this.came;
    this.waiting.push({ at: this.came, name });
  }

  /** Whether a mark stands behind all that came: the silence that follows is meant. */
  get atEnd() {
    return this.last === this.came;
  }

  clear() {
    this.last = this.came;
    this.waiting = [];
  }

  /**
   * Return the names that were reached, where so many samples are still to be played.
   * @param {number} depth
   */
  reached(depth) {
    const names = [];
    while (this.waiting.length > 0 && this.waiting[0].at <= this.came - depth) {
      names.push(/** @type {{ name: string }} */ (this.waiting.shift()).name);
    }
    return names;
  }
}

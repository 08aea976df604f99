/** Memory of a fixed size for what scrolls by: samples with their outline, and values over time. */

const BINS_PER_SECOND = 400; // the outline's resolution: one pair of extremes for each 2.5 ms

/** The last few seconds of samples, and their extremes in bins for drawing many at once. */
export class SampleRing {
  /**
   * @param {number} rate
   * @param {number} seconds
   */
  constructor(rate, seconds) {
    this.rate = rate;
    this.samples = new Float32Array(rate * seconds);
    this.binSamples = rate / BINS_PER_SECOND;
    this.low = new Float32Array(BINS_PER_SECOND * seconds);
    this.high = new Float32Array(BINS_PER_SECOND * seconds);
    this.total = 0; // samples ever written; the next one's index
  }

  /**
   * Append samples, scaled so that full scale is 1.
   * @param {Int16Array | Int32Array} frame
   */
  write(frame) {
    const { samples, binSamples, low, high } = this;
    for (let i = 0; i < frame.length; i++, this.total++) {
      const value = frame[i] / 32768;
      samples[this.total % samples.length] = value;
      const bin = Math.floor(this.total / binSamples) % low.length;
      if (this.total % binSamples === 0) low[bin] = high[bin] = value;
      else if (value < low[bin]) low[bin] = value;
      else if (value > high[bin]) high[bin] = value;
    }
  }

  /** The index of the oldest sample that is still there. */
  get oldest() {
    return Math.max(0, this.total - this.samples.length);
  }

  /** @param {number} index */
  at(index) {
    return this.samples[index % this.samples.length];
  }

  /**
   * Copy the newest samples into `out`, zeros before the first.
   * @param {Float32Array} out
   */
  latest(out) {
    const first = this.total - out.length;
    for (let i = 0; i < out.length; i++) out[i] = first + i < 0 ? 0 : this.at(first + i);
  }
}

/** The newest `capacity` values with their times (seconds on any one clock). */
export class Series {
  /** @param {number} capacity */
  constructor(capacity) {
    this.times = new Float64Array(capacity);
    this.values = new Float64Array(capacity);
    this.total = 0;
  }

  /**
   * @param {number} time
   * @param {number} value
   */
  add(time, value) {
    const slot = this.total++ % this.times.length;
    this.times[slot] = time;
    this.values[slot] = value;
  }

  get last() {
    return this.total ? this.values[(this.total - 1) % this.values.length] : NaN;
  }

  /**
   * Call `visit(time, value)` for each since a time, oldest first.
   * @param {number} time
   * @param {(time: number, value: number) => void} visit
   */
  since(time, visit) {
    const capacity = this.times.length;
    let at = Math.max(0, this.total - capacity);
    for (; at < this.total && this.times[at % capacity] < time; at++);
    for (; at < this.total; at++) visit(this.times[at % capacity], this.values[at % capacity]);
  }
}

/**
 * The quantiles of a series' finite values since a time, exact; `scratch` holds the sorting.
 * @param {Series} series
 * @param {number} since
 * @param {number[]} wanted
 * @param {Float64Array} scratch
 */
export function quantiles(series, since, wanted, scratch) {
  let count = 0;
  series.since(since, (_, value) => {
    if (Number.isFinite(value) && count < scratch.length) scratch[count++] = value;
  });
  const sorted = scratch.subarray(0, count).sort();
  return wanted.map((share) => (count ? sorted[Math.ceil(share * count) - 1] : NaN));
}

/**
 * Streaming conversion between two sample rates by a windowed sinc, for both audio worklets.
 *
 *     resampler.write(samples)           // Float32Array at the rate it converts from
 *     n = resampler.read(out, 0, 128)    // as many as there is input for, at the other rate
 */

const PHASES = 128; // rows of the filter's table between two input samples; linear in between
const CROSSINGS = 16; // zero crossings on either side, at the lower of the two rates
const ROLL_OFF = 0.92; // the pass band's share, so that the transition ends at half the rate
const KAISER_BETA = 8; // stop band below -80 dB

/**
 * The modified Bessel function of order zero, of which Kaiser's window is made.
 * @param {number} x
 */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-9 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * @param {number} cutoff
 * @param {number} half
 */
function filterTable(cutoff, half) {
  const taps = 2 * half;
  const table = new Float32Array((PHASES + 1) * taps);
  for (let phase = 0; phase <= PHASES; phase++) {
    for (let tap = 0; tap < taps; tap++) {
      const x = tap - half + 1 - phase / PHASES;
      const edge = Math.max(0, 1 - (x / half) ** 2);
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
      const kaiser = bessel(KAISER_BETA * Math.sqrt(edge)) / bessel(KAISER_BETA);
      table[phase * taps + tap] = cutoff * sinc * kaiser;
    }
  }
  return table;
}

export class Resampler {
  /**
   * Convert from one rate to another, both in samples a second.
   * @param {number} from
   * @param {number} to
   */
  constructor(from, to) {
    this.step = from / to;
    const cutoff = Math.min(1, to / from) * ROLL_OFF;
    this.half = Math.ceil(CROSSINGS / cutoff);
    this.table = filterTable(cutoff, this.half);
    this.input = new Float32Array(2 * this.half + 8192);
    this.filled = this.half;
    this.position = this.half - 1;
  }

  /**
   * Take input; raises RangeError when more than 4096 samples wait to be read.
   * @param {Float32Array} samples
   */
  write(samples) {
    if (this.filled + samples.length > this.input.length) {
      const spent = Math.floor(this.position) - this.half + 1;
      this.input.copyWithin(0, spent, this.filled);
      this.filled -= spent;
      this.position -= spent;
    }
    this.input.set(samples, this.filled);
    this.filled += samples.length;
  }

  /**
   * Fill `out` from index `at` up to `end` as far as the input reaches; return the index reached.
   * `trim` stretches the step, to play a little faster (above 1) or slower.
   * @param {Float32Array} out
   * @param {number} at
   * @param {number} end
   */
  read(out, at, end, trim = 1) {
    const { input, table, half } = this;
    const taps = 2 * half;
    for (; at < end; at++) {
      const whole = Math.floor(this.position);
      if (whole + half >= this.filled) break;
      const phase = (this.position - whole) * PHASES;
      const row = Math.floor(phase);
      const weight = phase - row;
      const first = whole - half + 1;
      let tap = row * taps;
      let sum = 0;
      for (let i = 0; i < taps; i++, tap++) {
        sum += input[first + i] * (table[tap] + weight * (table[tap + taps] - table[tap]));
      }
      out[at] = sum;
      this.position += this.step * trim;
    }
    return at;
  }
}

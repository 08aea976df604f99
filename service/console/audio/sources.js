/** What is sent when nobody speaks: each source fills the next frame (Int16Array) in place. */

export const TONE_HZ = 1004; // the telephone's test tone: no divisor of any sample rate here
const LEVEL = 32767 * 10 ** (-10 / 20); // -10 dB below full scale, as test signals usually are
const SWEEP_SECONDS = 6;
const SWEEP_FROM_HZ = 60;
const SWEEP_TO = 0.45; // of the sample rate

/**
 * Return the source of a kind: `tone`, `sweep`, or `pcm`, which repeats the given samples.
 * @param {string} kind
 * @param {number} rate
 * @param {Int16Array | null} samples
 */
export function makeSource(kind, rate, samples) {
  if (kind === "tone") return oscillator(rate, () => TONE_HZ);
  if (kind === "sweep") return oscillator(rate, sweepHz(rate));
  if (!samples) throw new Error(`${kind} needs samples`);
  return repeated(samples);
}

/**
 * @param {number} rate
 * @param {(at: number) => number} hzAt
 */
function oscillator(rate, hzAt) {
  let phase = 0;
  let at = 0;
  return (/** @type {Int16Array} */ frame) => {
    for (let i = 0; i < frame.length; i++, at++) {
      frame[i] = Math.round(LEVEL * Math.sin(phase));
      phase = (phase + (2 * Math.PI * hzAt(at)) / rate) % (2 * Math.PI);
    }
  };
}

/**
 * Return the frequency at each sample: as long for every octave, over and over.
 * @param {number} rate
 */
function sweepHz(rate) {
  const octaves = Math.log((SWEEP_TO * rate) / SWEEP_FROM_HZ);
  return (/** @type {number} */ at) => {
    const share = ((at / rate) % SWEEP_SECONDS) / SWEEP_SECONDS;
    return SWEEP_FROM_HZ * Math.exp(octaves * share);
  };
}

/** @param {Int16Array} samples */
function repeated(samples) {
  let at = 0;
  return (/** @type {Int16Array} */ frame) => {
    for (let i = 0; i < frame.length; i++) {
      frame[i] = samples[at];
      if (++at === samples.length) at = 0;
    }
  };
}

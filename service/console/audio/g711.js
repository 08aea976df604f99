/**
 * G.711 in both laws, to the bit of ITU-T G.191's reference tool, as tables built from the rules.
 *
 * The service has the same rules in service/codec/tables.py; a test compares all 65,536 samples
 * and 256 codes of both.
 */

const MULAW_BIAS = 33; // makes every segment's bounds powers of two (G.711, table 2a)
const MULAW_LARGEST = 0x1fff;

/** @param {number} value */
const bitLength = (value) => 32 - Math.clz32(value);

/** @param {number} sample */
function mulawCompress(sample) {
  const magnitude = (sample >= 0 ? sample : ~sample) >> 2;
  const biased = Math.min(magnitude + MULAW_BIAS, MULAW_LARGEST);
  const segment = bitLength(biased) - 6;
  const interval = (biased >> (segment + 1)) & 0x0f;
  const sign = sample >= 0 ? 0x80 : 0;
  return sign | (~((segment << 4) | interval) & 0x7f); // codes travel inverted (G.711, 3.2)
}

/** @param {number} code */
function mulawExpand(code) {
  const segment = (~code >> 4) & 0x07;
  const interval = ~code & 0x0f;
  const magnitude = ((2 * interval + MULAW_BIAS) << segment) - MULAW_BIAS;
  return (code & 0x80 ? magnitude : -magnitude) << 2;
}

/** @param {number} sample */
function alawCompress(sample) {
  const magnitude = (sample >= 0 ? sample : ~sample) >> 4;
  const segment = Math.max(bitLength(magnitude) - 4, 0);
  const interval = (magnitude >> Math.max(segment - 1, 0)) & 0x0f;
  const sign = sample >= 0 ? 0x80 : 0;
  return (sign | (segment << 4) | interval) ^ 0x55; // even bits travel inverted (G.711, 3.2)
}

/** @param {number} code */
function alawExpand(code) {
  const segment = ((code ^ 0x55) >> 4) & 0x07;
  const interval = (code ^ 0x55) & 0x0f;
  const leading = segment ? 0x10 : 0; // segments 0 and 1 are one straight line
  const magnitude = (2 * (leading | interval) + 1) << Math.max(segment - 1, 0);
  return (code & 0x80 ? magnitude : -magnitude) << 3;
}

class Law {
  /**
   * @param {Scale} compress
   * @param {Scale} expand
   */
  constructor(compress, expand) {
    this.codes = Uint8Array.from({ length: 65536 }, (_, at) => compress((at << 16) >> 16));
    this.samples = Int16Array.from({ length: 256 }, (_, code) => expand(code));
  }

  /** @param {Int16Array} pcm */
  encode(pcm) {
    const codes = new Uint8Array(pcm.length);
    for (let i = 0; i < pcm.length; i++) codes[i] = this.codes[pcm[i] & 0xffff];
    return codes;
  }

  /** @param {Uint8Array} codes */
  decode(codes) {
    const pcm = new Int16Array(codes.length);
    for (let i = 0; i < codes.length; i++) pcm[i] = this.samples[codes[i]];
    return pcm;
  }
}

const LAWS = {
  ulaw: new Law(mulawCompress, mulawExpand),
  alaw: new Law(alawCompress, alawExpand),
};

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * Return 16-bit samples in little-endian order; a big-endian machine has to swap the bytes.
 * @param {Int16Array} pcm
 */
function wireOrder(pcm) {
  if (LITTLE_ENDIAN) return pcm;
  const view = new DataView(new ArrayBuffer(pcm.byteLength));
  pcm.forEach((sample, at) => view.setInt16(2 * at, sample, true));
  return new Int16Array(view.buffer);
}

/**
 * Return the bytes that go onto the wire for samples (Int16Array) in `encoding`.
 * @param {Int16Array} pcm
 * @param {Encoding} encoding
 */
export function encode(pcm, encoding) {
  return encoding === "pcm16" ? wireOrder(pcm) : LAWS[encoding].encode(pcm);
}

/**
 * Return the samples (Int16Array) of a message (ArrayBuffer) that came in `encoding`.
 * @param {ArrayBuffer} message
 * @param {Encoding} encoding
 */
export function decode(message, encoding) {
  if (encoding === "pcm16") return wireOrder(new Int16Array(message));
  return LAWS[encoding].decode(new Uint8Array(message));
}

/** The bytes of one sample in each encoding. */
export const BYTES_PER_SAMPLE = { pcm16: 2, ulaw: 1, alaw: 1 };

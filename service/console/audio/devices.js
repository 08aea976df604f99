/** The browser's audio: the microphone, the loudspeaker, and the decoding of files. */

/** Why something cannot be had here, in words for the person at the page. */
export class AudioError extends Error {}

/** Whether AudioWorklet and the microphone exist: only on pages over https or from localhost. */
export const secure = window.isSecureContext;

const FADE_SECONDS = 0.02;

/** The page's sound, in and out. */
class Output {
  /** @param {AudioContext} context */
  constructor(context) {
    this.context = context;
    this.gain = new GainNode(context);
    this.gain.connect(context.destination);
  }

  /**
   * Sound or silence; silence stops no stream.
   * @param {boolean} audible
   */
  listen(audible) {
    this.gain.gain.setTargetAtTime(audible ? 1 : 0, this.context.currentTime, FADE_SECONDS / 3);
  }

  /**
   * Return a node that plays what is posted to `frames`; `report` gets its buffer's state.
   * @param {number} rate
   * @param {number} targetMs
   * @param {(state: BufferState) => void} report
   */
  player(rate, targetMs, report) {
    const node = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { rate, targetMs },
    });
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage({ frames: port1 }, [port1]);
    node.port.onmessage = ({ data }) => report(data);
    node.connect(this.gain);
    return {
      frames: port2,
      aim: (/** @type {number} */ ms) => node.port.postMessage({ targetMs: ms }),
      stop: () => end(node),
    };
  }

  /**
   * Return the unprocessed microphone; `frames` is a port that gets Int16Array frames.
   *
   * With `echoCancellation` it does not hear the loudspeaker: a bot would interrupt itself.
   * @param {number} rate
   * @param {number} frameSamples
   * @param {boolean} echoCancellation
   */
  async microphone(rate, frameSamples, echoCancellation) {
    const constraints = {
      echoCancellation,
      noiseSuppression: false,
      autoGainControl: false,
    };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints }).catch(explain);
    const source = new MediaStreamAudioSourceNode(this.context, { mediaStream: stream });
    const node = new AudioWorkletNode(this.context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { rate, frameSamples },
    });
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage({ frames: port1 }, [port1]);
    source.connect(node);
    const stop = () => {
      stream.getTracks().forEach((track) => track.stop());
      source.disconnect();
      end(node);
    };
    return { frames: port2, stop };
  }
}

/** The output, opened at the first call because a browser wants a click before sound. */
class Speaker {
  constructor() {
    this.audible = true;
    /** @type {Promise<Output> | null} */
    this.opening = null;
  }

  /** Return the output, once it is there and runs. */
  async open() {
    this.opening ??= open();
    const output = await this.opening;
    output.listen(this.audible);
    await output.context.resume();
    return output;
  }

  /** @param {boolean} audible */
  listen(audible) {
    this.audible = audible;
    this.opening?.then((output) => output.listen(this.audible));
  }
}

export const speaker = new Speaker();

async function open() {
  const context = new AudioContext({ latencyHint: "interactive" });
  for (const name of ["player-worklet.js", "capture-worklet.js"]) {
    await context.audioWorklet.addModule(new URL(name, import.meta.url));
  }
  return new Output(context);
}

/** @param {AudioWorkletNode} node */
function end(node) {
  node.port.postMessage({ stop: true });
  node.port.onmessage = null;
  node.disconnect();
}

/**
 * Raise why the microphone cannot be had, in words for the person at the page.
 * @param {Error} error
 * @returns {never}
 */
function explain(error) {
  /** @type {Record<string, string>} */
  const words = {
    NotAllowedError:
      "The browser was not allowed to use the microphone. " +
      "Allow it for this page, or choose another source.",
    NotFoundError: "This machine has no microphone. Choose another source.",
    NotReadableError: "Another program holds the microphone. Close it, or choose another source.",
  };
  throw new AudioError(words[error.name] ?? `The microphone cannot be used: ${error.message}`);
}

/**
 * Return an audio file's samples (Int16Array, mono) at a rate; the browser converts them.
 * @param {ArrayBuffer} bytes
 * @param {number} rate
 */
export async function decodeFile(bytes, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  const audio = await context.decodeAudioData(bytes.slice(0)).catch(() => {
    throw new AudioError(
      "The browser cannot decode this file as audio. Try WAV, MP3, FLAC or Ogg.",
    );
  });
  const channels = Array.from({ length: audio.numberOfChannels }, (_, at) =>
    audio.getChannelData(at),
  );
  const pcm = new Int16Array(audio.length);
  for (let i = 0; i < pcm.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    const value = Math.round((sum / channels.length) * 32768);
    pcm[i] = Math.max(-32768, Math.min(32767, value));
  }
  if (pcm.length === 0) throw new AudioError("There is no audio in this file.");
  return pcm;
}

/** @type {ArrayBuffer | null} */
let speech = null;

/** Return the bytes of the speech sample that comes with the page. */
export async function speechFile() {
  speech ??= await (await fetch(new URL("speech.wav", import.meta.url))).arrayBuffer();
  return speech;
}

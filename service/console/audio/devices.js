/** The browser's audio: the microphone, the loudspeaker, and the decoding of files. */

/** Why something cannot be had here, in words for the person at the page. */
export class AudioError extends Error {}

/** Whether AudioWorklet and the microphone exist: only on pages over https or from localhost. */
export const secure = window.isSecureContext;

const FADE_SECONDS = 0.02;

/** The loudspeaker, made at the first call because a browser wants a click before sound. */
class Speaker {
  async ready() {
    this.loading ??= this.load();
    await this.loading;
    await this.context.resume();
  }

  async load() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.gain = new GainNode(this.context, { gain: this.audible ? 1 : 0 });
    this.gain.connect(this.context.destination);
    const modules = ["player-worklet.js", "capture-worklet.js"];
    const load = (name) => this.context.audioWorklet.addModule(new URL(name, import.meta.url));
    await Promise.all(modules.map(load));
  }

  /** Sound or silence; silence stops no stream. */
  listen(audible) {
    this.audible = audible;
    this.gain?.gain.setTargetAtTime(audible ? 1 : 0, this.context.currentTime, FADE_SECONDS / 3);
  }

  /** Return a node that plays what is posted to `frames`; `report` gets its buffer's state. */
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
      aim: (ms) => node.port.postMessage({ targetMs: ms }),
      stop: () => end(node),
    };
  }

  /** Return the unprocessed microphone; `frames` is a port that gets Int16Array frames. */
  async microphone(rate, frameSamples) {
    const constraints = {
      echoCancellation: false,
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

export const speaker = new Speaker();

function end(node) {
  node.port.postMessage({ stop: true });
  node.port.onmessage = null;
  node.disconnect();
}

function explain(error) {
  const words = {
    NotAllowedError:
      "The browser was not allowed to use the microphone. " +
      "Allow it for this page, or choose another source.",
    NotFoundError: "This machine has no microphone. Choose another source.",
    NotReadableError: "Another program holds the microphone. Close it, or choose another source.",
  };
  throw new AudioError(words[error.name] ?? `The microphone cannot be used: ${error.message}`);
}

/** Return an audio file's samples (Int16Array, mono) at a rate; the browser converts them. */
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

let speech = null;

/** Return the bytes of the speech sample that comes with the page. */
export async function speechFile() {
  speech ??= await (await fetch(new URL("speech.wav", import.meta.url))).arrayBuffer();
  return speech;
}

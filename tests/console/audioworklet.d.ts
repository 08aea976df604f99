// What an AudioWorkletGlobalScope has (Web Audio API, 1.32), which TypeScript's DOM library lacks.

declare const sampleRate: number;
declare const currentTime: number;

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

declare function registerProcessor<Options>(
  name: string,
  processor: new (options: { processorOptions: Options }) => AudioWorkletProcessor & {
    process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean;
  },
): void;

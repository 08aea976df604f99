// The types that several files of the console name in their JSDoc. Browsers never load this file.

type Encoding = "pcm16" | "ulaw" | "alaw";
type Source = "speech" | "microphone" | "tone" | "sweep" | "file";
type Colour =
  | "ink"
  | "muted"
  | "grid"
  | "panel"
  | "well"
  | "sent"
  | "received"
  | "error"
  | "good"
  | "warn"
  | "bad";
type Pen = CanvasRenderingContext2D;
type Scale = (value: number) => number;
type Draw = (context: Pen, width: number, height: number, now: number) => void;

/** The form's fields by name. */
interface CallForm extends HTMLElement {
  source: RadioNodeList;
  rate: HTMLSelectElement;
  frame: HTMLSelectElement;
  encoding: HTMLSelectElement;
  reply: HTMLSelectElement;
  codec: HTMLSelectElement;
  token: HTMLInputElement;
  sound: HTMLInputElement;
  buffer: HTMLInputElement;
}

/** What a call is begun with: the form's values. */
interface CallSettings {
  source: Source;
  file: ArrayBuffer | null;
  rate: number;
  frameMs: number;
  encoding: Encoding;
  reply: Encoding;
  codec: string;
  guarded: boolean;
  token: string;
  bufferMs: number;
  twoWay: boolean;
}

/** The answer of /console/server.json. */
interface Facts {
  version: string;
  handler: boolean;
  codecs: Record<string, boolean>;
  best_codec: string;
  max_frame_bytes: number;
  token_needed: boolean;
  refusal: string | null;
  retry_after: number | null;
}

interface Words {
  title: string;
  what?: string;
  todo?: string;
}

/** How a connection ended; without `opened` the upgrade failed. */
interface Ending {
  opened: boolean;
  code: number;
  reason: string;
  unanswered: boolean;
  lost: number;
}

interface Started {
  id: string;
  codec: string;
  handler: boolean;
}

/** For how long the service has not answered, and how many frames of an echo call wait. */
interface Silence {
  seconds: number;
  waiting: number | null;
}

/** A frame of a two-way call, and what was heard meanwhile. */
interface FrameOfTalk {
  sent: Int16Array;
  received: Int16Array;
  speaking: boolean;
}

/** What a handler sends besides audio, and what of a two-way call the page lists. */
type HandlerEvent =
  | { type: "mark"; name: string }
  | { type: "clear" }
  | { type: "digits"; digits: string }
  | { type: "message"; message: unknown };
type Said =
  | Extract<HandlerEvent, { type: "digits" | "message" }>
  | { type: "cleared"; milliseconds: number };

/** What the worker tells a player of a two-way call besides audio, and what it is told. */
type PlayerOrder = { voice: true } | { mark: string } | { clear: true };
type PlayerReport = { mark: string } | { cleared: number };

/** A frame with its reply, and what the two say of the call. */
interface FrameMeasured {
  sent: Int16Array;
  received: Int16Array;
  rtt: number;
  gap: boolean;
  signal: number;
  noise: number;
  same: boolean;
}

interface BufferState {
  depthMs: number;
  underruns: number;
}

/** What the page tells a call's worker, and what the worker tells the page. */
interface OpenOrder {
  type: "open";
  url: string;
  protocols: string[];
  rate: number;
  frameMs: number;
  encoding: Encoding;
  reply: Encoding;
  source: Source;
  samples: Int16Array | null;
  facts: string;
  mic: MessagePort | null;
  player: MessagePort | null;
}
type Order =
  | OpenOrder
  | { type: "mute"; on: boolean }
  | { type: "digits"; digits: string }
  | { type: "close" };
type WorkerReport =
  | { type: "open" }
  | ({ type: "started" } & Started)
  | ({ type: "silence" } & Silence)
  | ({ type: "frame" } & FrameMeasured)
  | ({ type: "talk" } & FrameOfTalk)
  | { type: "event"; event: Said }
  | ({ type: "closed" } & Ending);

/** What a call's exchange can do with its WebSocket. */
interface Wire {
  say(event: object): void;
  report(message: WorkerReport, transfer?: Transferable[]): void;
  close(): void;
  giveUp(): void;
}

/** What happens in a call: replies to frames, or a talk. */
interface Exchange {
  lost: number;
  sent(pcm: Int16Array, payload: Uint8Array | Int16Array): void;
  receive(message: ArrayBuffer): void;
  note(event: HandlerEvent): void;
  press(digits: string): void;
  look(): void;
  leave(): void;
}

interface CallEvents {
  heard(speaking: boolean): void;
  said(event: Said): void;
  open(): void;
  started(event: Started): void;
  silence(event: Silence): void;
}

interface CallerEvents {
  heard(speaking: boolean): void;
  said(event: Said): void;
  say(state: string, words: Words): void;
  open(call: Call): void;
  started(event: Started): void;
  over(): void;
}

interface FormEvents {
  busy(): boolean;
  changed(): void;
  submitted(): void;
  aimed(bufferMs: number): void;
}

/** How an attempt at a connection ended; `error` is what kept it from being tried. */
type Outcome = (Ending & { error?: undefined }) | { opened: false; error: Error };

type Call = import("./call/call.js").Call;
type Measured = import("./call/measured.js").Measured;
type Meters = import("./draw/meters.js").Meters;
type Resampler = import("./audio/resampler.js").Resampler;
type SampleRing = import("./draw/rings.js").SampleRing;
type Series = import("./draw/rings.js").Series;
type Rings = Record<"sent" | "received" | "error", SampleRing>;

/** A line of a timeline; a value that is no number interrupts it. */
interface Line {
  series: Series;
  colour: Colour;
  dashed?: boolean;
  filled?: boolean;
  width?: number;
}

/** A level across a timeline, with a label at its right. */
interface Reference {
  value: number;
  label: string;
  colour: Colour;
  dashed?: boolean;
}

interface TimelineOptions {
  clock: () => number;
  /** How far back the timeline reaches. */
  seconds: number;
  /** A logarithmic axis ends at `high`; a linear one grows beyond it as needed. */
  log?: boolean;
  low: number;
  high: number;
  format: (value: number) => string;
  lines: () => Line[];
  levels?: () => Reference[];
  markColours?: Record<number, Colour>;
}

/** Where a trace of the scope is drawn. */
interface Box {
  width: number;
  middle: number;
  scale: number;
  limit: number;
}

interface Axes {
  x: Scale;
  y: Scale;
}

/** The series of /metrics, as they are written there, with their values. */
type Page = Map<string, number>;

interface Bucket {
  upTo: number;
  count: number;
}

interface Reading {
  at: number;
  page: Page;
}

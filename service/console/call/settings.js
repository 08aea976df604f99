/** The form: what the person chose, what the service offers, and what fits together. */

import { secure } from "../audio/devices.js";
import { BYTES_PER_SAMPLE } from "../audio/g711.js";
import { byId } from "../page.js";

const LEAST_BUFFER_FRAMES = 2; // with one, every late frame is heard as a dropout
const LARGEST_FILE = 64 * 2 ** 20;

/** RFC 9110's token characters: what a browser takes as a subprotocol. `/` and `=` are not. */
const SUBPROTOCOL = /^[\w!#$%&'*+.^`|~-]+$/;

/** @param {EventTarget | null} target */
const isSource = (target) => target instanceof HTMLInputElement && target.name === "source";

export class Settings {
  /**
   * `on.busy()` returns whether a call uses the settings now. `on.changed()` follows a change for
   * which that call must begin anew. `on.submitted()` follows Enter in the token's field, and
   * `on.aimed(ms)` each change of the jitter buffer's target.
   * @param {CallForm} form
   * @param {FormEvents} on
   */
  constructor(form, on) {
    this.form = form;
    this.on = on;
    /** @type {ArrayBuffer | null} */
    this.file = null;
    /** @type {Facts | null} */
    this.facts = null;
    this.source = form.source.value; // in use by a call
    this.byArrow = false;
    this.bufferMs = Number(form.buffer.value); // as the person wants it
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      on.submitted();
    });
    form.addEventListener("keydown", (event) => this.key(event));
    form.addEventListener("pointerdown", () => (this.byArrow = false));
    form.addEventListener("focusout", ({ target, relatedTarget }) => {
      if (isSource(target) && !isSource(relatedTarget)) this.keepSource();
    });
    form.addEventListener("change", ({ target }) =>
      this.chosen(/** @type {HTMLInputElement} */ (target)),
    );
    form.token.addEventListener("input", () => this.fits());
    form.buffer.addEventListener("input", () => {
      this.bufferMs = Number(form.buffer.value);
      this.aim();
    });
    this.fits();
  }

  /** @param {HTMLInputElement} field */
  chosen(field) {
    if (field.name === "file") this.take(field.files?.[0]);
    else if (field.name === "source") {
      this.fits();
      if (!this.pending) this.takeSource();
    } else if (["sound", "buffer"].includes(field.name)) return;
    else {
      this.fits();
      this.on.changed();
    }
  }

  /**
   * Whether the form shows another source than the call uses.
   *
   * An arrow key selects the next radio button at once, the microphone too. So a call takes the
   * selected source only after Enter, Space or a click.
   */
  get pending() {
    return this.byArrow && this.on.busy() && this.form.source.value !== this.source;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    this.byArrow = event.key.startsWith("Arrow");
    const confirms = event.key === "Enter" || event.key === " ";
    if (confirms && isSource(event.target)) this.takeSource();
  }

  /** Have the call use the source that is shown. */
  takeSource() {
    this.byArrow = false;
    if (this.form.source.value === this.source) return;
    this.source = this.form.source.value;
    this.fits();
    this.on.changed();
  }

  /** Show the source again that the call uses. */
  keepSource() {
    if (this.on.busy()) this.form.source.value = this.source;
    this.fits();
  }

  /**
   * Offer the service's codecs, and ask for a token where it wants one.
   * @param {Facts} facts
   */
  offer(facts) {
    this.facts = facts;
    for (const option of this.form.codec.options) {
      if (option.value === "") option.text = `Best there is (${facts.best_codec})`;
      else option.disabled = !facts.codecs[option.value];
      if (option.disabled) option.text = `${option.value} (not on this server)`;
    }
    byId("token-field").hidden = !facts.token_needed;
    this.fits();
  }

  /**
   * Take an audio file (a File) as the source.
   * @param {File | undefined} file
   */
  async take(file) {
    if (!file) return;
    const note = byId("file-name");
    if (file.size > LARGEST_FILE) {
      note.textContent = `${file.name} is too large: at most 64 MB.`;
      return;
    }
    this.file = await file.arrayBuffer();
    note.textContent = file.name;
    this.form.source.value = this.source = "file";
    this.fits();
    this.on.changed();
  }

  /** Show what belongs to the source, and say what does not go together. */
  fits() {
    const { rate, frameMs, encoding, token } = this.values();
    const source = this.form.source.value;
    byId("file-field").hidden = source !== "file";
    for (const note of /** @type {NodeListOf<HTMLElement>} */ (
      this.form.querySelectorAll("[data-source]")
    )) {
      note.hidden = note.dataset.source !== source;
    }
    const bytes = ((rate * frameMs) / 1000) * BYTES_PER_SAMPLE[encoding];
    const limit = this.facts?.max_frame_bytes ?? Infinity;
    const frames = +(1000 / frameMs).toFixed(1);
    const size = `${bytes.toLocaleString("en")} bytes a frame, ${frames} frames a second`;
    byId("frame-size").textContent =
      bytes > limit ? `${size}: more than the ${limit} bytes that the service takes` : size;
    byId("source-note").hidden = !this.pending;
    this.aim();
    byId("token-note").hidden = !token || SUBPROTOCOL.test(token);
  }

  /** Keep the jitter buffer at two frames or more, and say where it is. */
  aim() {
    const { buffer, frame } = this.form;
    buffer.min = String(LEAST_BUFFER_FRAMES * Number(frame.value));
    buffer.value = String(this.bufferMs);
    byId("buffer-target").textContent = `${buffer.value} ms`;
    this.on.aimed(Number(buffer.value));
  }

  /** Return why a call cannot begin with these settings, or null. */
  obstacle() {
    const { source, file } = this.values();
    if (source === "file" && !file) return "Choose an audio file first, or drop one onto the page.";
    if (source === "microphone" && !secure)
      return "A browser gives the microphone only to pages that come over https or from localhost.";
    return null;
  }

  /** @returns {CallSettings} */
  values() {
    const { source, rate, frame, encoding, reply, codec, token, buffer } = this.form;
    return {
      source: /** @type {Source} */ (this.on.busy() ? this.source : source.value),
      file: this.file,
      rate: Number(rate.value),
      frameMs: Number(frame.value),
      encoding: /** @type {Encoding} */ (encoding.value),
      reply: /** @type {Encoding} */ (reply.value),
      codec: codec.value,
      guarded: this.facts?.token_needed ?? false,
      token: this.facts?.token_needed ? token.value.trim() : "",
      bufferMs: Number(buffer.value),
      twoWay: this.facts?.handler ?? false,
    };
  }
}

/**
 * Return the query and the subprotocols with which a call by these settings is opened.
 * @param {CallSettings} settings
 * @returns {[string, string[]]}
 */
export function request({ encoding, reply, codec, rate, token }) {
  const query = new URLSearchParams({ encoding, reply, sample_rate: String(rate) });
  if (codec) query.set("codec", codec);
  if (!token) return [query.toString(), []];
  if (SUBPROTOCOL.test(token)) return [query.toString(), [`bearer.${token}`]];
  query.set("access_token", token);
  return [query.toString(), []];
}

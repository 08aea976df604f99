/** The page's elements: finding one, and writing a figure into it. */

/**
 * Return the element with an id; the page has it from the start.
 * @param {string} id
 */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Return the button with an id.
 * @param {string} id
 */
export const button = (id) => /** @type {HTMLButtonElement} */ (byId(id));

/**
 * Set an element's text, value with a small unit, and tone, if they differ.
 * @param {string} id
 * @param {string} value
 * @param {string} [unit]
 * @param {string} [tone]
 */
export function show(id, value, unit = "", tone = "") {
  const element = byId(id);
  const text = unit ? `${value}\u2009${unit}` : value;
  if (element.dataset.text === text && (element.dataset.tone ?? "") === tone) return;
  element.dataset.text = text;
  element.dataset.tone = tone;
  element.textContent = value;
  if (!unit) return;
  const small = document.createElement("small");
  small.textContent = `\u2009${unit}`;
  element.append(small);
}

/**
 * Return a number with as many digits as are worth reading.
 * @param {number} value
 */
export function digits(value) {
  if (!Number.isFinite(value)) return "\u2013";
  return value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0);
}

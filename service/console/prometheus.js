/** Prometheus' text format: reading it, and the rates and quantiles between two readings. */

/**
 * Return a Map from each series, as it is written (`name{label="value"}`), to its number.
 * @param {string} text
 */
export function parse(text) {
  const page = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const end = line.lastIndexOf("}");
    const space = line.indexOf(" ", end + 1);
    const value = line.slice(space + 1).split(" ")[0];
    page.set(
      line.slice(0, space),
      value === "+Inf" ? Infinity : value === "-Inf" ? -Infinity : Number(value),
    );
  }
  return page;
}

/**
 * Return the sum of all series of a metric whose labels include `having`.
 * @param {Page} page
 * @param {string} name
 * @param {string} [having]
 */
export function total(page, name, having = "") {
  let sum = 0;
  for (const [series, value] of page) {
    if ((series === name || series.startsWith(`${name}{`)) && series.includes(having)) sum += value;
  }
  return sum;
}

/**
 * Return the values of one label of a metric, with their numbers.
 * @param {Page} page
 * @param {string} name
 * @param {string} label
 */
export function byLabel(page, name, label) {
  const found = new Map();
  for (const [series, value] of page) {
    if (!series.startsWith(`${name}{`)) continue;
    const match = series.match(`[{,]${label}="([^"]*)"`);
    if (match) found.set(match[1], (found.get(match[1]) ?? 0) + value);
  }
  return found;
}

/**
 * Return a quantile of a histogram's counts between two pages; NaN without a count.
 * Like Prometheus' histogram_quantile it is linear within a bucket.
 * @param {Page} before
 * @param {Page} after
 * @param {string} name
 * @param {string} having
 * @param {number} share
 */
export function quantile(before, after, name, having, share) {
  /** @type {Bucket[]} */
  const buckets = [];
  for (const [series, value] of after) {
    if (!series.startsWith(`${name}_bucket{`) || !series.includes(having)) continue;
    const bound = series.match(/[{,]le="([^"]*)"/)?.[1];
    const upTo = bound === "+Inf" ? Infinity : Number(bound);
    const count = value - (before.get(series) ?? 0);
    const same = buckets.find((bucket) => bucket.upTo === upTo);
    if (same) same.count += count;
    else buckets.push({ upTo, count });
  }
  buckets.sort((one, other) => one.upTo - other.upTo);
  return within(buckets, share);
}

/**
 * @param {Bucket[]} buckets
 * @param {number} share
 */
function within(buckets, share) {
  const all = buckets.at(-1)?.count ?? 0;
  if (!(all > 0)) return NaN;
  const wanted = share * all;
  const at = buckets.findIndex(({ count }) => count >= wanted);
  const low = at === 0 ? { upTo: 0, count: 0 } : buckets[at - 1];
  const high = buckets[at];
  if (high.upTo === Infinity) return low.upTo;
  return low.upTo + ((high.upTo - low.upTo) * (wanted - low.count)) / (high.count - low.count);
}

/** What the service says about itself to this page. */

const ANSWER_MS = 3000; // a service that answers later is as good as gone
const PAGE = new URL("./", location.href);

/**
 * Return the address of /ws/audio for a query, on the page's own origin.
 * @param {string} query
 */
export function audioUrl(query) {
  const url = new URL("ws/audio", PAGE);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = query;
  return url.href;
}

/** Return the address of server.json, by which a caller sees too whether the service is there. */
export const factsUrl = () => new URL("console/server.json", PAGE);

/**
 * Return the facts of server.json for a caller with this token, or null without an answer.
 * @param {string} token
 */
export async function askServer(token) {
  const url = factsUrl();
  url.searchParams.set("origin", location.origin);
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch(url, {
      headers,
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Return the text of /metrics, or null without an answer. */
export async function fetchMetrics() {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const answer = await fetch(new URL("metrics", PAGE), { cache: "no-store", signal });
    return answer.ok ? await answer.text() : null;
  } catch {
    return null;
  }
}

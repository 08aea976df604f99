/** When to try again after a call was lost, and when to give up; as `rt-audio stream` does. */

const FIRST_SECONDS = 0.2; // at most, before the first further try; twice as many before each next
const LONGEST_SECONDS = 5;
const PATIENCE_SECONDS = 30; // without a reply

/**
 * Exponential back-off with full jitter.
 *
 * Each wait is drawn evenly from 0 to its bound. So the callers of a stopped instance do not all
 * reconnect at the same moment.
 */
export class Backoff {
  /**
   * `clock` returns the time in seconds, `random` a number from 0 to 1.
   * @param {() => number} [clock]
   */
  constructor(clock = () => performance.now() / 1000, random = Math.random) {
    this.clock = clock;
    this.random = random;
    this.replies = this.failures = 0;
    this.giveUpAt = clock() + PATIENCE_SECONDS;
  }

  /**
   * Return how many seconds to wait until the next try, or null if there should be none.
   *
   * `atLeast` is what the service asked for; `replies` counts all replies so far. A further reply
   * begins the bound and the patience anew.
   * @param {number} atLeast
   * @param {number} replies
   */
  afterFailure(atLeast, replies) {
    const now = this.clock();
    if (replies > this.replies) {
      this.replies = replies;
      this.failures = 0;
      this.giveUpAt = now + PATIENCE_SECONDS;
    }
    const bound = Math.min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** this.failures++);
    const wait = atLeast + this.random() * bound;
    return now + wait <= this.giveUpAt ? wait : null;
  }
}

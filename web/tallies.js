// What the stream adds up to: changes of one second by type and cause, and the devices that changed most. Both are bounded,
// however many devices and types a fleet has.

import { shortCause } from "./format.js";

/** Types and causes that one second is told apart by; the rest is added up as `other`. */
const GROUPS_MAX = 12;
/** Devices that are counted at once. */
const COUNTED_MAX = 2_000;
/** How long a generation of counts is added to; the one before is shown with it. */
const GENERATION_MS = 15 * 60_000;

export const OTHER = "other";

/**
 * What happened, of everything that a change can be.
 * @param {import("./types").Change} change
 */
export function happened(change) {
  const event = change.last_event?.event;
  if (event === "connect" || (!event && change.status === "connected")) return "connect";
  return event ?? "disconnect";
}

/** The changes of one second. */
export class SecondTally {
  constructor() {
    this.total = 0;
    this.connects = 0;
    /** @type {Map<string, {connects: number, others: number}>} */
    this.types = new Map();
    /** @type {Map<string, number>} */
    this.causes = new Map();
  }

  clear() {
    this.total = 0;
    this.connects = 0;
    this.types.clear();
    this.causes.clear();
  }

  /** @param {import("./types").Change} change */
  add(change) {
    const isConnect = happened(change) === "connect";
    this.total += 1;
    if (isConnect) this.connects += 1;
    const type = this.types.get(change.type) ?? { connects: 0, others: 0 };
    if (isConnect) type.connects += 1;
    else type.others += 1;
    this.types.set(change.type, type);
    if (!isConnect) {
      const code = change.last_event?.close_code ?? change.close_code;
      const cause = shortCause(code, change.cause) || "no reason given";
      this.causes.set(cause, (this.causes.get(cause) ?? 0) + 1);
    }
  }

  /**
   * @param {number} at
   * @returns {import("./types").Second}
   */
  take(at) {
    const types = [...this.types].sort(([, a], [, b]) => b.connects + b.others - a.connects - a.others);
    const rest = types.splice(GROUPS_MAX).reduce(
      (sum, [, type]) => ({ connects: sum.connects + type.connects, others: sum.others + type.others }),
      { connects: 0, others: 0 },
    );
    if (rest.connects + rest.others > 0) types.push([OTHER, rest]);
    const causes = [...this.causes].sort(([, a], [, b]) => b - a);
    const otherCauses = causes.splice(GROUPS_MAX).reduce((sum, [, number]) => sum + number, 0);
    if (otherCauses > 0) causes.push([OTHER, otherCauses]);
    const second = { at, total: this.total, connects: this.connects, others: this.total - this.connects, types, causes };
    this.clear();
    return second;
  }
}

/**
 * The devices that changed most. When more devices change than can be counted, every count is lowered by one (Misra and
 * Gries): what changes often stays, and no count is ever too high.
 */
export class TopTally {
  /** @param {number} now */
  constructor(now) {
    this.began = now;
    this.previousBegan = now;
    /** @type {Map<string, number>} */
    this.counts = new Map();
    /** @type {Map<string, number>} */
    this.previous = new Map();
  }

  /**
   * @param {string} key
   * @param {number} now
   */
  add(key, now) {
    if (now - this.began > GENERATION_MS) {
      this.previous = this.counts;
      this.previousBegan = this.began;
      this.counts = new Map();
      this.began = now;
    }
    const count = this.counts.get(key);
    if (count !== undefined || this.counts.size < COUNTED_MAX) {
      this.counts.set(key, (count ?? 0) + 1);
      return;
    }
    for (const [other, number] of this.counts) {
      if (number === 1) this.counts.delete(other);
      else this.counts.set(other, number - 1);
    }
  }

  /** @param {number} most */
  top(most) {
    const sums = new Map(this.previous);
    for (const [key, number] of this.counts) sums.set(key, (sums.get(key) ?? 0) + number);
    const devices = [...sums]
      .filter(([, changes]) => changes > 1)
      .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
      .slice(0, most)
      .map(([key, changes]) => {
        // A type has no slash, an id neither.
        const slash = key.indexOf("/");
        return { type: key.slice(0, slash), id: key.slice(slash + 1), changes };
      });
    return { since: this.previousBegan, devices };
  }
}

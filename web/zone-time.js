// Times in fields of forms: what a clock on the wall shows in the chosen zone, and RFC 3339.

import { currentZone } from "./format.js";

/** The offset of the chosen zone at a time, in milliseconds. @param {number} time */
function offset(time) {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: currentZone(),
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(time);
  const part = (/** @type {string} */ kind) => Number(parts.find(({ type }) => type === kind)?.value);
  const wall = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return wall - Math.floor(time / 1000) * 1000;
}

/** What the clock on the wall shows in the chosen zone. @param {string} text RFC 3339 */
export function wallTime(text) {
  const time = Date.parse(text);
  return Number.isNaN(time) ? "" : new Date(time + offset(time)).toISOString().slice(0, 19);
}

/** The reverse: RFC 3339 for a time on the wall. @param {string} text */
export function instant(text) {
  if (!text) return "";
  const wall = Date.parse(`${text}Z`);
  if (Number.isNaN(wall)) return "";
  // The offset is that of the result, which is known only by it: the second look settles it, but in the skipped hour.
  const guess = wall - offset(wall);
  return new Date(wall - offset(guess)).toISOString().replace(".000Z", "Z");
}

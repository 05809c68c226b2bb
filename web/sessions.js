// What the events of a device add up to: its sessions, and the share of a period in which it was connected. Takes values and
// returns values.

/** @typedef {{from: number, to: number, open: boolean, code: number | null, cause: string | null}} Session */
/** @typedef {{from: number, to: number}} Span */

/** @param {string | null | undefined} text */
const timeOf = (text) => {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? null : time;
};

/**
 * The sessions, oldest first. One whose end nobody told of ends where the next begins, or where the device is known to be off.
 * @param {import("./types").HistoryEvent[]} events
 * @param {import("./types").Device} device
 * @param {number} now
 * @returns {Session[]}
 */
export function sessionsOf(events, device, now) {
  /** @type {Map<number, {from: number, to: number | null, code: number | null, cause: string | null}>} */
  const byBegin = new Map();
  for (const { event, time, connect_time, close_code, cause } of events) {
    const from = timeOf(connect_time) ?? (event === "connect" ? timeOf(time) : null);
    if (from === null) continue;
    if (event === "connect") {
      if (!byBegin.has(from)) byBegin.set(from, { from, to: null, code: null, cause: null });
    } else if (event === "disconnect" || event === "takeover") {
      byBegin.set(from, { from, to: timeOf(time), code: close_code, cause });
    }
  }
  const isOn = device.status === "connected";
  const since = timeOf(device.since);
  const began = timeOf(device.session?.connect_time) ?? since;
  if (isOn && began !== null && !byBegin.has(began)) byBegin.set(began, { from: began, to: null, code: null, cause: null });
  // The message of a device that is off tells of its last session, also where no history is kept.
  const isOff = device.status === "disconnected" && device.session?.connect_time && since !== null;
  if (isOff && began !== null && !byBegin.has(began)) {
    byBegin.set(began, { from: began, to: since, code: device.close_code, cause: device.cause });
  }
  // Somebody took over and has not been seen itself: connected since the takeover.
  const takenOver = isOn && device.last_event?.event === "takeover" ? timeOf(device.last_event.time) : null;
  if (takenOver !== null && !byBegin.has(takenOver)) byBegin.set(takenOver, { from: takenOver, to: null, code: null, cause: null });

  const sorted = [...byBegin.values()].sort((a, b) => a.from - b.from);
  return sorted.map(({ from, to, code, cause }, index) => {
    const next = sorted[index + 1];
    const open = to === null && !next && isOn;
    const end = to ?? next?.from ?? (isOn ? now : Math.max(from, since ?? from));
    return { from, to: Math.max(from, end), open, code, cause };
  });
}

/**
 * The times in which any session was on, within a period.
 * @param {Session[]} sessions oldest first
 * @param {Span} period
 * @returns {Span[]}
 */
export function connectedSpans(sessions, period) {
  /** @type {Span[]} */
  const spans = [];
  for (const session of sessions) {
    const from = Math.max(session.from, period.from);
    const to = Math.min(session.to, period.to);
    if (to <= from) continue;
    const last = spans.at(-1);
    if (last && from <= last.to) last.to = Math.max(last.to, to);
    else spans.push({ from, to });
  }
  return spans;
}

/** @param {Span[]} spans */
export const lengthOf = (spans) => spans.reduce((sum, { from, to }) => sum + to - from, 0);

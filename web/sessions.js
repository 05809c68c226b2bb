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
  const within = sessions.map(({ from, to }) => ({ from: Math.max(from, period.from), to: Math.min(to, period.to) }));
  return joined(within.filter(({ from, to }) => to > from));
}

/** The newest intervals of the series may not be written yet, and are no gap. */
const UNWRITTEN_MAX = 2;

/**
 * The times in which the fleet was not observed, as its series say.
 * @param {import("./types").Series} series
 * @returns {Span[]}
 */
export function unobservedSpans({ from, step_seconds, observed_seconds }) {
  const [start, step] = [Date.parse(from), step_seconds * 1000];
  const observed = (/** @type {number} */ seconds) => seconds > 0;
  const end = Math.max(observed_seconds.findLastIndex(observed) + 1, observed_seconds.length - UNWRITTEN_MAX);
  const gaps = observed_seconds.slice(0, end).flatMap((seconds, index) => (observed(seconds) ? [] : [{ from: start + index * step, to: start + (index + 1) * step }]));
  return joined(gaps);
}

/**
 * The times of a period of which it is known whether the device was connected: those of its sessions, wherever the service was
 * then, those since it went off, and all others in which the fleet was observed.
 * @param {Span} period
 * @param {{connected: Span[], unobserved: Span[], offSince: number | null}} facts
 */
export function knownSpans(period, { connected, unobserved, offSince }) {
  const off = offSince === null ? [] : [{ from: Math.max(period.from, offSince), to: period.to }];
  return joined([...outside(unobserved, period), ...connected, ...off].filter(({ from, to }) => to > from));
}

/** The times of a period that are in none of the spans. @param {Span[]} spans oldest first, none over another @param {Span} period */
function outside(spans, period) {
  const edges = [period.from, ...spans.flatMap(({ from, to }) => [from, to]), period.to].map((time) => Math.min(period.to, Math.max(period.from, time)));
  return edges.flatMap((from, index) => (index % 2 === 0 ? [{ from, to: edges[index + 1] ?? from }] : []));
}

/** Spans that touch are made one. @param {Span[]} spans */
function joined(spans) {
  /** @type {Span[]} */
  const result = [];
  for (const { from, to } of [...spans].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last && from <= last.to) last.to = Math.max(last.to, to);
    else result.push({ from, to });
  }
  return result;
}

/** @param {Span[]} spans */
export const lengthOf = (spans) => spans.reduce((sum, { from, to }) => sum + to - from, 0);

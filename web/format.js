// Numbers, times and durations as people read them.

const NUMBER = new Intl.NumberFormat("en");
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** @param {number} value */
export const count = (value) => NUMBER.format(value);

/**
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/**
 * A share, never rounded to all or nothing: 99.99 % of a fleet is not all of it.
 * @param {number} part
 * @param {number} whole
 */
export function percent(part, whole) {
  if (whole === 0) return "–";
  const value = (100 * part) / whole;
  if (part === 0 || part === whole) return `${value} %`;
  if (value < 0.1) return "< 0.1 %";
  if (value > 99.9) return "> 99.9 %";
  return `${value.toFixed(1)} %`;
}

/**
 * The two largest units of a duration.
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  const value = Math.max(0, milliseconds);
  if (value < MINUTE) return `${Math.floor(value / SECOND)} s`;
  /** @type {[number, string, number, string][]} */
  const units = [
    [DAY, "d", HOUR, "h"],
    [HOUR, "h", MINUTE, "min"],
    [MINUTE, "min", SECOND, "s"],
  ];
  for (const [large, largeName, small, smallName] of units) {
    if (value < large) continue;
    const rest = Math.floor((value % large) / small);
    return `${count(Math.floor(value / large))} ${largeName}${rest > 0 ? ` ${rest} ${smallName}` : ""}`;
  }
  return "0 s";
}

/**
 * The largest unit only, for tables.
 * @param {number} milliseconds
 */
const coarse = (milliseconds) => duration(milliseconds).split(" ").slice(0, 2).join(" ");

/**
 * @param {number} time
 * @param {number} now
 */
export function relative(time, now) {
  const ago = now - time;
  // Clocks differ by a little; a second ahead is now.
  if (Math.abs(ago) < 2 * SECOND) return "just now";
  return ago > 0 ? `${coarse(ago)} ago` : `in ${coarse(-ago)}`;
}

let zone = storedZone();
/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

function storedZone() {
  try {
    const stored = localStorage.getItem("devstatus.zone");
    if (stored) {
      new Intl.DateTimeFormat("en-GB", { timeZone: stored });
      return stored;
    }
  } catch {
    // Storage is forbidden, or the zone is one that this browser does not know.
  }
  return browserZone();
}

export function browserZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

export const currentZone = () => zone;

/** @param {string} name */
export function setZone(name) {
  zone = name;
  formats.clear();
  try {
    localStorage.setItem("devstatus.zone", name);
  } catch {
    // The choice lasts as long as the tab.
  }
}

/** @param {string} name @param {Intl.DateTimeFormatOptions} options */
function formatOf(name, options) {
  let format = formats.get(name);
  if (!format) {
    format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone });
    formats.set(name, format);
  }
  return format;
}

/** @type {Intl.DateTimeFormatOptions} */
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** @param {number} time */
const dayOf = (time) => formatOf("day", { day: "numeric", month: "short", year: "numeric" }).format(time);

/** The time of day. @param {number} time */
export const clock = (time) => formatOf("clock", CLOCK).format(time);

/**
 * Day and time in the chosen zone; the day is left out for today, the year for this year.
 * @param {number} time
 * @param {number} [now]
 */
export function absolute(time, now = Date.now()) {
  const day = dayOf(time);
  const today = dayOf(now);
  if (day === today) return clock(time);
  const sameYear = day.slice(-4) === today.slice(-4);
  return `${sameYear ? day.slice(0, -5) : day}, ${clock(time)}`;
}

/** Everything about a time, for a tooltip. @param {number} time */
export function exact(time) {
  return formatOf("exact", { dateStyle: "full", timeStyle: "long" }).format(time);
}

/** A tick of a time axis. @param {number} time @param {number} range */
export function tick(time, range) {
  if (range <= 2 * DAY) return formatOf("tick", { hour: "2-digit", minute: "2-digit" }).format(time);
  return formatOf("tick-day", { day: "numeric", month: "short" }).format(time);
}

/** @param {number} bytes */
export function bytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Why a session ended, in a few words; the API's own sentence is longer. @type {Record<number, string>} */
const SHORT_CAUSES = {
  0: "ended normally",
  91: "closed by the client, or lost",
  92: "closed by the server, or network failed",
  93: "server was shut down",
  94: "closed by an administrator",
  160: "keep-alive timed out",
  180: "not authorised",
  288: "taken over",
};

/**
 * @param {number | null | undefined} code
 * @param {string | null | undefined} cause
 */
export function shortCause(code, cause) {
  if (code === null || code === undefined) return cause ?? "";
  return SHORT_CAUSES[code] ?? cause ?? `close code ${code}`;
}

/** @type {Record<string, string>} */
const STATUS_WORDS = {
  connected: "Connected",
  disconnected: "Disconnected",
  never_connected: "Never connected",
  unknown: "Not known yet",
};

/** @param {string | null | undefined} status */
export const statusWord = (status) => STATUS_WORDS[status ?? "unknown"] ?? String(status);

/** By the contact policy of a device. @type {Record<string, string>} */
export const EXPECTATIONS = {
  met: "as expected",
  overdue: "overdue",
  unseen: "never seen",
  none: "nothing is expected of it",
};

// One device: what it is now, what happened to it, and what that rests on.

import { devicePath, get, getText, segment } from "./api.js";
import { timeline } from "./charts.js";
import { fill, h, patch } from "./dom.js";
import { EXPECTATIONS, absolute, bytes, count, counted, duration, exact, percent, shortCause } from "./format.js";
import { badge, curl, failure, name, notice, shape, when } from "./parts.js";
import { address, go } from "./router.js";
import { connectedSpans, knownSpans, lengthOf, sessionsOf, unobservedSpans } from "./sessions.js";
import { subscribe } from "./stream.js";

const HOUR_MS = 3_600_000;
/** `step` is that of the series that say when the fleet was observed. @type {Record<string, {label: string, words: string, length: number, step: string}>} */
const RANGES = {
  "24h": { label: "24 h", words: "the last 24 hours", length: 24 * HOUR_MS, step: "1m" },
  "7d": { label: "7 d", words: "the last 7 days", length: 7 * 24 * HOUR_MS, step: "1h" },
  "30d": { label: "30 d", words: "the last 30 days", length: 30 * 24 * HOUR_MS, step: "1h" },
};
const RANGE = "24h";

const PAGE = 1_000;
/** Events that are read for the timeline. A device with more of them has a shorter one, which says so. */
const EVENTS_MAX = 5_000;
const EVENTS_SHOWN = 50;
/** Sessions in the list beside the timeline. */
const SESSIONS_SHOWN = 100;
/** After a change, the store needs a moment to have it; several changes are read at once. */
const SETTLE_MS = 1_000;
/** The events of a device that changes all the time are read so often at most. */
const HISTORY_INTERVAL_MS = 5_000;
const REDRAW_MS = 30_000;

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} route
 * @param {AbortSignal} signal
 */
export function device(root, route, signal) {
  const [type = "", id = ""] = route.segments;
  const path = devicePath(type, id);
  let query = route.query;
  /** @type {import("./types").Device | null} */
  let known = null;
  /** @type {{events: import("./types").HistoryEvent[], more: boolean, from: number | null} | null} */
  let past = null;
  /** When the fleet was not observed; `null`: that is not known. @type {import("./sessions.js").Span[] | null} */
  let unobserved = null;
  let eventsShown = EVENTS_SHOWN;

  const sentence = h("div", { class: "sentence" });
  const facts = h("section", { class: "card", "aria-label": "Facts" });
  const chart = h("div", {});
  const ranges = h("div", { class: "ranges", role: "group", "aria-label": "Period" });
  const events = h("section", { class: "card" });
  const message = h("section", { class: "card" });
  const commands = h("div", {});
  fill(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/devices" }, "Devices"), " / ", h("a", { href: address("devices", new URLSearchParams({ type })) }, name(type))),
    h("h1", { class: "device-title", tabindex: -1 }, name(id)),
    sentence,
    h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Sessions"), ranges), chart),
    h("div", { class: "columns" }, facts, message),
    events,
    commands,
  );
  for (const part of [sentence, chart]) fill(part, h("p", { class: "loading" }, "Loading…"));

  const rangeOf = () => RANGES[query.get("range") ?? RANGE] ?? /** @type {typeof RANGES[string]} */ (RANGES[RANGE]);
  const observedPath = () => {
    const { length, step } = rangeOf();
    // Whole steps, so that the address stays the same for a while.
    const from = new Date(Math.floor((Date.now() - length) / HOUR_MS) * HOUR_MS).toISOString().replace(".000Z", "Z");
    return `/api/v1/series?${new URLSearchParams({ metric: "connects", step, from })}`;
  };
  const drawCommands = () =>
    fill(
      commands,
      curl([
        { path },
        { path: `${path}/history?limit=${PAGE}` },
        { path: observedPath() },
        { path: `/${segment(type)}/${segment(id)}` },
        { path: `/api/v1/events?${new URLSearchParams({ type, id_prefix: id })}`, options: "-N" },
      ]),
    );
  const drawRanges = () =>
    fill(
      ranges,
      Object.entries(RANGES).map(([key, { label }]) =>
        h(
          "button",
          {
            type: "button",
            "aria-pressed": String((query.get("range") ?? RANGE) === key),
            on: { click: () => go(address(`devices/${segment(type)}/${segment(id)}`, new URLSearchParams({ range: key })), { replace: true }) },
          },
          label,
        ),
      ),
    );
  const draw = () => {
    if (!known) return;
    patch(sentence, ...sentenceOf(known));
    patch(facts, ...factsOf(known));
    if (!past) return;
    patch(chart, ...chartOf(known, past, unobserved, rangeOf()));
    fill(events, ...eventsOf(past, eventsShown, () => {
      eventsShown += EVENTS_SHOWN * 4;
      draw();
    }));
  };
  const load = async () => {
    try {
      known = await get(path, signal);
      draw();
    } catch (error) {
      if (signal.aborted) return;
      fill(sentence, failure(error, "The device"));
      fill(chart, h("p", { class: "muted" }, "Not known."));
      return;
    }
    await Promise.all([loadMessage(), loadHistory(), loadObserved()]);
  };
  let observedLoads = 0;
  const loadObserved = async () => {
    const load = ++observedLoads;
    /** @type {import("./types").Series | null} */
    const series = await get(observedPath(), signal).catch(() => null);
    if (load !== observedLoads || signal.aborted) return;
    unobserved = series && unobservedSpans(series);
    draw();
  };
  const loadMessage = async () => {
    try {
      patch(message, h("h2", {}, "The deciding message"), h("pre", { class: "message", tabindex: 0 }, await getText(`/${segment(type)}/${segment(id)}`, signal)));
    } catch (error) {
      if (!signal.aborted) patch(message, h("h2", {}, "The deciding message"), failure(error, "The message"));
    }
  };
  const loadHistory = async () => {
    try {
      past = await readHistory(path, signal);
      draw();
    } catch (error) {
      if (!signal.aborted) fill(chart, failure(error, "The history"));
    }
  };

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let readAt = 0;
  const settle = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      readAt = Date.now();
      void Promise.all([loadMessage(), loadHistory()]);
    }, Math.max(SETTLE_MS, readAt + HISTORY_INTERVAL_MS - Date.now()));
  };
  const redraw = setInterval(() => !document.hidden && draw(), REDRAW_MS);
  signal.addEventListener("abort", () => {
    clearInterval(redraw);
    clearTimeout(timer);
  });
  subscribe(
    { devices: [`${type}/${id}`] },
    {
      changes: (changes, forgotten) => {
        if (forgotten.length > 0) return void load();
        known = changes.at(-1) ?? known;
        draw();
        settle();
      },
      refresh: () => void load(),
    },
    signal,
  );
  drawRanges();
  drawCommands();
  void load();
  return (/** @type {import("./types").Route} */ next) => {
    query = next.query;
    drawRanges();
    drawCommands();
    // What is known of the range before does not reach far enough.
    unobserved = null;
    draw();
    void loadObserved();
  };
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 */
async function readHistory(path, signal) {
  /** @type {import("./types").HistoryEvent[]} */
  const events = [];
  /** @type {number | null} */
  let next = null;
  /** @type {number | null} */
  let from = null;
  do {
    /** @type {import("./types").History} */
    const page = await get(`${path}/history?limit=${PAGE}${next === null ? "" : `&before=${next}`}`, signal);
    events.push(...page.events);
    const begin = Date.parse(page.totals?.from ?? "");
    if (!Number.isNaN(begin)) from = begin;
    next = page.next;
  } while (next !== null && events.length < EVENTS_MAX);
  const oldest = Date.parse(events.at(-1)?.time ?? "");
  return { events, more: next !== null, from: next !== null && !Number.isNaN(oldest) ? oldest : from };
}

/** @param {import("./types").Device} device */
function sentenceOf(device) {
  const { status, since, stale, dated_ahead, last_event } = device;
  const at = Date.parse(since ?? "");
  const lasts = Number.isNaN(at) ? "" : ` for ${duration(Date.now() - at)}`;
  const why = shortCause(device.close_code, device.cause);
  const words = {
    connected: `Connected${lasts}`,
    disconnected: `Offline${lasts}${why ? `: ${why}` : ""}`,
    never_connected: "Never connected: no message has ever been about this device",
    unknown: "Not known yet: the statuses are still being read",
  };
  return [
    h("p", { class: `lead ${status}` }, shape(status), h("span", {}, words[status])),
    !Number.isNaN(at) && h("p", { class: "muted" }, "since ", h("time", { datetime: since }, exact(at))),
    last_event?.event === "refusal" && notice("info", `The last login was refused${last_event.time ? `, ${absolute(Date.parse(last_event.time))}` : ""}.`),
    stale && notice("info", "This may be out of date: the link to the broker was lost, and nothing has come about the device since."),
    dated_ahead && notice("info", "The message is dated more than a day ahead of the service's clock: one of the two clocks is wrong."),
  ];
}

/** @type {Record<string, string>} */
const PROVENANCE = {
  live: "a message that came as it happened",
  retained: "a message that the broker had kept",
  restored: "the store; nothing has come since the start",
  peer: "what another instance has received",
  inferred: "a takeover; the new session has not been seen itself",
};

/** @param {import("./types").Device} device */
function factsOf(device) {
  const { session } = device;
  const provenance = device.provenance ?? device.evidence;
  const row = (/** @type {string} */ term, /** @type {import("./dom.js").Child} */ value) => [h("dt", {}, term), h("dd", {}, value ?? "–")];
  const code = device.close_code;
  const secure = session?.secure;
  return [
    h("h2", {}, "Facts"),
    h(
      "dl",
      {},
      row("Status", badge(device.status)),
      device.expectation && row("Expectation", EXPECTATIONS[device.expectation] ?? device.expectation),
      code !== null && row("Close code", `${code}${device.cause ? `: ${device.cause}` : ""}`),
      device.reason && row("Reason", h("bdi", {}, device.reason)),
      row("Address", device.address),
      row("Session since", when(session?.connect_time ?? null)),
      row("Protocol", session?.protocol && `${session.protocol}${secure === true ? " with TLS" : secure === false ? " without TLS" : ""}`),
      row("Client id", name(device.client_id)),
      row("Known from", provenance && (PROVENANCE[provenance] ?? provenance)),
      row("Last message", when(device.confirmed_at)),
    ),
  ];
}

/**
 * @param {import("./types").Device} device
 * @param {{events: import("./types").HistoryEvent[], more: boolean, from: number | null}} past
 * @param {import("./sessions.js").Span[] | null} unobserved
 * @param {{words: string, length: number}} range
 */
function chartOf(device, past, unobserved, range) {
  const now = Date.now();
  const period = { from: now - range.length, to: now };
  const sessions = sessionsOf(past.events, device, now);
  if (sessions.length === 0) return [h("p", { class: "muted" }, "No session is known.")];
  const knownFrom = Math.max(period.from, past.from ?? sessions[0]?.from ?? now);
  const connected = connectedSpans(sessions, { from: knownFrom, to: now });
  const offSince = device.status === "disconnected" ? Date.parse(device.since ?? "") || null : null;
  const known = knownSpans({ from: knownFrom, to: now }, { connected, unobserved: unobserved ?? [], offSince });
  const [on, seen] = [lengthOf(connected), lengthOf(known)];
  const within = sessions.filter((session) => session.to > knownFrom);
  const covered = seen >= range.length * 0.999 ? "all of it is known" : `coverage ${percent(seen, range.length)}: known for ${duration(seen)}`;
  const label = `Connected ${percent(on, seen)} of ${range.words}; ${covered}`;
  return [
    timeline({ connected, known, period, label }),
    h("p", {}, h("strong", {}, `${percent(on, seen)} connected`), ` in ${range.words}; ${covered}. ${counted(within.length, "session")}. `),
    h(
      "p",
      { class: "legend" },
      badge("connected"),
      badge("disconnected"),
      h("span", { class: "muted" }, past.more ? `Of this device only the newest ${count(past.events.length)} events are drawn. ` : "", unobserved ? "Where nothing is drawn, the device was not observed." : "While the service itself was away, the last known status is drawn."),
    ),
    sessionList(within),
  ];
}

/** @param {import("./sessions.js").Session[]} sessions */
function sessionList(sessions) {
  if (sessions.length === 0) return null;
  const newest = sessions.slice(-SESSIONS_SHOWN).reverse();
  const item = (/** @type {import("./sessions.js").Session} */ { from, to, open, code, cause }) => {
    const why = shortCause(code, cause);
    return h(
      "li",
      {},
      `${absolute(from)} to ${open ? "now" : absolute(to)}: connected ${duration(to - from)}`,
      !open && (why ? `, then ${why}` : ", end not told"),
    );
  };
  return h(
    "details",
    {},
    h("summary", {}, "Sessions as a list"),
    h("ol", { class: "sessions" }, newest.map(item)),
    sessions.length > newest.length && h("p", { class: "muted" }, `The newest ${count(newest.length)} of ${count(sessions.length)}.`),
  );
}

/** @type {Record<string, [string, string]>} */
const EVENT_WORDS = {
  connect: ["connected", "Connected"],
  disconnect: ["disconnected", "Disconnected"],
  takeover: ["unknown", "Taken over"],
  refusal: ["disconnected", "Login refused"],
  failed_login: ["disconnected", "Login failed"],
};

/**
 * @param {{events: import("./types").HistoryEvent[], more: boolean}} past
 * @param {number} most
 * @param {() => void} showMore
 */
function eventsOf({ events, more }, most, showMore) {
  const heading = h("h2", {}, "Events ", h("small", {}, "newest first"));
  if (events.length === 0) return [heading, h("p", { class: "muted" }, "No event is kept of this device.")];
  const row = (/** @type {import("./types").HistoryEvent} */ event) => {
    const [status, word] = EVENT_WORDS[event.event] ?? ["unknown", event.event];
    const why = shortCause(event.close_code, event.cause);
    const lasted = event.duration_s === null ? "" : duration(event.duration_s * 1000);
    const traffic = event.read_bytes === null && event.write_bytes === null ? "–" : `${bytes(event.read_bytes ?? 0)} / ${bytes(event.write_bytes ?? 0)}`;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, when(event.time)),
      h(
        "td",
        {},
        badge(status, word),
        why && h("div", { class: "muted narrow" }, why),
        lasted && h("div", { class: "muted narrow" }, `after ${lasted}`),
      ),
      h("td", { class: "wide" }, h("span", { title: event.reason }, why || "–")),
      h("td", { class: "wide number" }, lasted || "–"),
      h("td", { class: "wide address" }, event.address ?? "–"),
      h("td", { class: "wide number" }, traffic),
    );
  };
  const rest = events.length - most;
  return [
    heading,
    h(
      "div",
      { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Events" },
      h(
        "table",
        { class: "events" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col", "aria-sort": "descending" }, "Time"),
            h("th", { scope: "col" }, "Event"),
            h("th", { scope: "col", class: "wide" }, "Why"),
            h("th", { scope: "col", class: "wide number" }, "Session lasted"),
            h("th", { scope: "col", class: "wide" }, "Address"),
            h("th", { scope: "col", class: "wide number" }, "Read / written"),
          ),
        ),
        h("tbody", {}, events.slice(0, most).map(row)),
      ),
    ),
    rest > 0 && h("button", { type: "button", class: "quiet", on: { click: showMore } }, `Show more (${count(rest)}${more ? " and older" : ""})`),
  ];
}

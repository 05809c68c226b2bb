// The fleet at a glance.

import { get, poll, readiness } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { count, counted, percent, shortCause, clock } from "./format.js";
import { badge, curl, deviceName, failure, name, notice, partBar, shape, shareBar, when } from "./parts.js";
import { address } from "./router.js";
import { subscribe } from "./stream.js";
import { trend } from "./trend.js";

/** How often the totals are asked for; the service has them ready. */
const SUMMARY_INTERVAL_MS = 3_000;
/** Lists cost the service more. */
const LISTS_INTERVAL_MS = 15_000;
/** The series of minutes grow once a minute. */
const SERIES_INTERVAL_MS = 60_000;
/** Types, or sources, that have a bar of their own. */
const TYPES_MAX = 12;
/** The summary holds so many types; a fleet with more is asked for all. */
const SUMMARY_TYPES_MAX = 1_000;
const LONGEST_MAX = 8;

const LONGEST = `/api/v1/devices?status=disconnected&sort=since&limit=${LONGEST_MAX}`;
/** Time alone makes a device overdue, so nobody counts them. */
const OVERDUE = address("devices", new URLSearchParams({ expectation: "overdue" }));
/** The last 24 hours. */
const SERIES = "/api/v1/series?step=1m";

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} _route
 * @param {AbortSignal} signal
 */
export function overview(root, _route, signal) {
  const state = h("div", { class: "state-line" });
  const totals = h("section", { class: "card totals", "aria-label": "Totals" });
  const day = h("div", { class: "trends" });
  const types = h("div", {});
  const sources = h("section", { class: "card", hidden: true });
  const causes = h("div", {});
  const longest = h("div", {});
  const most = h("div", {});
  fill(
    root,
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Overview"), state),
    totals,
    section("The last 24 hours", "minute by minute", day),
    h(
      "div",
      { class: "columns" },
      stack(section("By type", "connected of all, and the share", types), sources, section("Longest off", "disconnected, oldest first", longest)),
      stack(section("Why devices are off", "by the end of the last session", causes), section("Changed most", "counted by this browser", most)),
    ),
    curl([{ path: "/api/v1/summary" }, { path: "/readyz" }, { path: SERIES }, { path: LONGEST }, { path: "/api/v1/events", options: "-N" }]),
  );
  fill(totals, h("p", { class: "loading" }, "Loading…"));

  const showSummary = async () => {
    try {
      /** @type {import("./types").Summary} */
      const summary = await get("/api/v1/summary", signal);
      patch(totals, ...totalsOf(summary));
      patch(causes, causesOf(summary));
      showSources(sources, summary.sources);
      if (summary.types_total <= SUMMARY_TYPES_MAX) patch(types, typesOf(summary.types, summary.types_total));
    } catch (error) {
      if (signal.aborted) return;
      patch(totals, failure(error, "The totals"));
      for (const part of [types, causes]) if (part.querySelector(".loading")) fill(part, h("p", { class: "muted" }, "Not known."));
    }
  };
  const showSeries = async () => {
    try {
      patch(day, ...trend(await get(SERIES, signal)));
    } catch (error) {
      if (!signal.aborted) patch(day, failure(error, "The last 24 hours"));
    }
  };
  const showState = async () => {
    try {
      patch(state, ...stateOf((await readiness(signal)).readiness));
    } catch {
      // The line about the connection says it already.
    }
  };
  const showLists = async () => {
    try {
      /** @type {import("./types").DevicePage} */
      const page = await get(LONGEST, signal);
      patch(longest, longestOf(page.devices));
      /** @type {import("./types").Summary} */
      const { types_total } = await get("/api/v1/summary", signal);
      if (types_total > SUMMARY_TYPES_MAX) {
        /** @type {{types: import("./types").TypeTotals[]}} */
        const all = await get("/api/v1/types", signal);
        patch(types, typesOf(all.types, types_total));
      }
    } catch (error) {
      if (!signal.aborted) patch(longest, failure(error, "The list"));
    }
  };
  poll(async () => void (await Promise.all([showSummary(), showState()])), SUMMARY_INTERVAL_MS, signal);
  poll(showSeries, SERIES_INTERVAL_MS, signal);
  poll(showLists, LISTS_INTERVAL_MS, signal);
  fill(most, h("p", { class: "muted" }, "No device has changed twice since the page was opened."));
  subscribe({ top: true }, { top: ({ since, devices }) => patch(most, mostOf(since, devices)), refresh: () => void showLists() }, signal);
}

/**
 * @param {string} title
 * @param {string} note
 * @param {HTMLElement} body
 */
function section(title, note, body) {
  fill(body, h("p", { class: "loading" }, "Loading…"));
  return h("section", { class: "card" }, h("h2", {}, title, " ", h("small", {}, note)), body);
}

/** Cards below each other, whatever stands beside them. @param {HTMLElement[]} cards */
const stack = (...cards) => h("div", { class: "stack" }, cards);

/** @param {import("./types").Summary} summary */
function totalsOf({ total, connected, disconnected, per_minute }) {
  if (total === 0) {
    return [
      h("p", { class: "empty" }, h("strong", {}, "No devices yet."), " No message has been about a device so far. "),
      h("p", { class: "muted" }, "Devices appear here as the broker tells of them. ", h("a", { href: "#/population" }, "What has been read")),
    ];
  }
  /** @param {"connected" | "disconnected"} status @param {number} number */
  const figure = (status, number) =>
    h(
      "a",
      { class: `figure ${status}`, href: address("devices", new URLSearchParams({ status })) },
      h("span", { class: "figure-label" }, badge(status)),
      h("span", { class: "figure-number" }, count(number)),
      h("span", { class: "muted" }, percent(number, total)),
    );
  const rate = (/** @type {string} */ label, /** @type {number} */ number) =>
    h(
      "a",
      { class: "figure minor", href: "#/live" },
      h("span", { class: "figure-label" }, label),
      h("span", { class: "figure-number" }, count(number)),
      h("span", { class: "muted" }, "in the last minute"),
    );
  return [
    h(
      "div",
      { class: "figures" },
      figure("connected", connected),
      figure("disconnected", disconnected),
      rate("Connects", per_minute.connects),
      rate("Disconnects", per_minute.disconnects),
    ),
    shareBar(connected, total),
    h("p", { class: "muted total" }, `${counted(total, "device")} known. `, h("a", { href: OVERDUE }, "Which are overdue")),
  ];
}

/** @type {Record<string, string>} */
const STORE_WORDS = { off: "off, memory only", good: "good", failing: "failing" };

/** @param {import("./types").Readiness} readiness */
function stateOf({ broker, population, store, missing, stale }) {
  const item = (/** @type {boolean} */ isGood, /** @type {import("./dom.js").Child[]} */ ...text) =>
    h("span", { class: `state ${isGood ? "good" : "bad"}` }, shape(isGood ? "connected" : "disconnected"), h("span", {}, ...text));
  const line = h(
    "p",
    {},
    item(broker === "subscribed" && !stale, `Broker: ${broker}`),
    item(
      population === "complete" || population === "unproven",
      "Population: ",
      h("a", { href: "#/population" }, population),
    ),
    item(store !== "failing", `Store: ${STORE_WORDS[store] ?? store}`),
  );
  const complaints = missing.length > 0 && notice("info", ...missing.map((sentence) => h("p", {}, sentence)));
  return [line, complaints];
}

/**
 * A bar for each source, where there are several.
 * @param {HTMLElement} card
 * @param {import("./types").Summary["sources"]} all
 */
function showSources(card, all) {
  card.hidden = all.length < 2;
  if (card.hidden) return;
  const title = h("h2", {}, "By source", " ", h("small", {}, "connected of all, and the share"));
  const groups = all.map(({ source, ...totals }) => ({ name: source, ...totals }));
  patch(card, title, totalsBy("source", groups, all.length));
}

/**
 * @param {import("./types").TypeTotals[]} all
 * @param {number} total
 */
function typesOf(all, total) {
  if (all.length === 0) return h("p", { class: "muted" }, "No device type is known yet.");
  return totalsBy("type", all.map(({ type, ...totals }) => ({ name: type, ...totals })), total);
}

/**
 * @param {"type" | "source"} what
 * @param {{name: string, total: number, connected: number}[]} all
 * @param {number} total how many there are
 */
function totalsBy(what, all, total) {
  const sorted = [...all].sort((a, b) => b.total - a.total);
  // One that is left over is shown by its name instead of as "1 other".
  const shown = sorted.length <= TYPES_MAX + 1 ? sorted : sorted.slice(0, TYPES_MAX);
  const rest = sorted.slice(shown.length);
  const row = (/** @type {import("./dom.js").Child} */ label, /** @type {number} */ connected, /** @type {number} */ number) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, label),
      h("td", { class: "bar-cell" }, shareBar(connected, number)),
      h("td", { class: "number" }, count(connected), h("span", { class: "muted" }, ` of ${count(number)}`)),
      h("td", { class: "number" }, percent(connected, number)),
    );
  const rows = shown.map(({ name: of, connected, total: number }) =>
    row(h("a", { href: address("devices", new URLSearchParams({ [what]: of })) }, name(of)), connected, number),
  );
  if (rest.length > 0) {
    const sum = (/** @type {"connected" | "total"} */ field) => rest.reduce((number, one) => number + one[field], 0);
    rows.push(row(counted(total - shown.length, `other ${what}`), sum("connected"), sum("total")));
  }
  return h(
    "table",
    { class: "plain" },
    h("thead", { class: "unseen" }, h("tr", {}, ...[what === "type" ? "Type" : "Source", "Share", "Connected", "Percent"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows),
  );
}

/** @param {import("./types").Summary} summary */
function causesOf({ disconnected, top_close_codes, causes, sources }) {
  if (disconnected === 0) return h("p", { class: "muted" }, "No device is off.");
  const row = (/** @type {import("./dom.js").Child} */ label, /** @type {number} */ devices) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, label),
      h("td", { class: "bar-cell" }, partBar(devices, disconnected)),
      h("td", { class: "number" }, count(devices)),
      h("td", { class: "number" }, percent(devices, disconnected)),
    );
  const rows = top_close_codes.map(({ close_code, cause, devices }) => {
    const query = new URLSearchParams({ status: "disconnected", close_code: String(close_code) });
    return row(h("a", { href: address("devices", query), title: cause ?? null }, shortCause(close_code, cause)), devices);
  });
  // Other sources than the IoT platform have no close codes.
  if (sources.some(({ source, disconnected: off }) => source !== "iot-platform" && off > 0)) {
    rows.length = 0;
    for (const { cause_class, devices } of causes) {
      const query = new URLSearchParams({ status: "disconnected", cause: cause_class });
      rows.push(row(h("a", { href: address("devices", query) }, cause_class), devices));
    }
  } else {
    const rest = disconnected - top_close_codes.reduce((sum, { devices }) => sum + devices, 0);
    if (rest > 0) rows.push(row("other", rest));
  }
  return h(
    "table",
    { class: "plain" },
    h("thead", { class: "unseen" }, h("tr", {}, ...["Cause", "Share", "Devices", "Percent"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows),
  );
}

/** @param {import("./types").Device[]} devices */
function longestOf(devices) {
  if (devices.length === 0) return h("p", { class: "muted" }, "No device is off.");
  const rows = devices.map((device) =>
    h("li", {}, deviceName(device), h("div", { class: "end" }, when(device.since, { absent: "time not known" }), h("span", { class: "muted" }, shortCause(device.close_code, device.cause)))),
  );
  return h("ol", { class: "rows" }, rows);
}

/**
 * @param {number} since
 * @param {{type: string, id: string, changes: number}[]} devices
 */
function mostOf(since, devices) {
  const period = h("p", { class: "muted" }, `Since ${clock(since)}. `, h("a", { href: "#/live" }, "Watch the changes"));
  if (devices.length === 0) return [h("p", { class: "muted" }, "No device has changed twice since this browser watches."), period];
  const rows = devices.map((device) => h("li", {}, deviceName(device), h("div", { class: "end" }, counted(device.changes, "change"))));
  return [h("ol", { class: "rows" }, rows), period];
}

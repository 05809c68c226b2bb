// The changes as they happen: one by one, or summed up where there are more than a person can read.

import { columns } from "./charts.js";
import { fill, h, patch } from "./dom.js";
import { count, clock, counted, shortCause } from "./format.js";
import { filterOf, streamQuery } from "./filter.js";
import { filters, following } from "./filters.js";
import { badge, curl, deviceName, name } from "./parts.js";
import { address, go } from "./router.js";
import { subscribe } from "./stream.js";
import { OTHER, happened } from "./tallies.js";

/** More changes in a second than this are summed up. */
const READABLE_PER_SECOND = 20;
/** So many quieter seconds in a row bring the rows back. */
const QUIET_SECONDS = 5;
const ROWS_MAX = 200;
/** Seconds that the sums are over, and the drawing shows. */
const SUM_SECONDS = 10;
const SECONDS_MAX = 60;

/** @type {Record<string, [string, string]>} */
const WORDS = {
  connect: ["connected", "Connected"],
  disconnect: ["disconnected", "Disconnected"],
  takeover: ["unknown", "Taken over"],
  refusal: ["unknown", "Login refused"],
};

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} route
 * @param {AbortSignal} signal
 * @returns {(route: import("./types").Route) => void}
 */
export function live(root, route, signal) {
  let query = route.query;
  let paused = false;
  let summing = false;
  let quiet = 0;
  /** @type {import("./types").Second[]} */
  let seconds = [];
  const log = h("ol", { class: "rows feed" });
  const sums = h("div", { class: "columns", hidden: true });
  const rate = h("div", { class: "rate" });
  const state = h("p", { class: "muted list-state", role: "status" });
  const commands = h("div", {});
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const waiting = h("p", { class: "empty" });
  const form = following(
    query,
    (of, tell) => filters({ query: of, times: false, change: tell }),
    (next, typing) => go(address("live", next), { replace: typing }),
  );
  const frame = h("div", { role: "log", "aria-label": "Changes", tabindex: 0 }, waiting, log);
  const rows = h("section", { class: "card" }, frame);
  fill(
    root,
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Live"), state, pause),
    form.element,
    h("section", { class: "card", "aria-label": "Changes a second" }, rate),
    sums,
    rows,
    commands,
  );
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    frame.setAttribute("aria-live", paused ? "off" : "polite");
    patch(state, paused ? `Paused at ${clock(Date.now())}; changes go on unseen.` : "");
  });
  const showMode = () => {
    sums.hidden = !summing;
    rows.hidden = summing;
    waiting.hidden = log.childElementCount > 0;
    if (!paused) patch(state, summing ? `More than ${READABLE_PER_SECOND} changes a second: sums instead of rows.` : "");
  };

  const follow = () => {
    const filter = filterOf(query);
    const filtered = streamQuery(query) !== "";
    fill(waiting, h("strong", {}, filtered ? "No change matches so far." : "No change so far."), " Changes appear here as they happen.");
    const stream = streamQuery(query);
    fill(commands, curl([{ path: `/api/v1/events${stream && "?"}${stream}`, options: "-N" }]));
    seconds = [];
    summing = false;
    log.replaceChildren();
    showMode();
    subscribe(
      { feed: filter },
      {
        feed: (changes) => {
          if (paused || summing) return;
          log.prepend(...changes.map(rowOf).reverse());
          while (log.childElementCount > ROWS_MAX) log.lastElementChild?.remove();
          waiting.hidden = true;
        },
        second: (second) => {
          if (paused) return;
          seconds = [...seconds, second].slice(-SECONDS_MAX);
          quiet = second.total > READABLE_PER_SECOND ? 0 : quiet + 1;
          const wasSumming = summing;
          summing = summing ? quiet < QUIET_SECONDS : second.total > READABLE_PER_SECOND;
          // The rows of before have a hole where the sums were.
          if (summing && !wasSumming) log.replaceChildren();
          if (summing !== wasSumming) showMode();
          patch(rate, ...rateOf(seconds));
          if (summing) patch(sums, ...sumsOf(seconds.slice(-SUM_SECONDS)));
        },
      },
      signal,
    );
  };
  patch(rate, ...rateOf([]));
  follow();
  return (next) => {
    query = next.query;
    form.follow(query);
    follow();
  };
}

/** @param {import("./types").Change} change */
function rowOf(change) {
  const what = happened(change);
  const [status, word] = WORDS[what] ?? [change.status, what];
  const code = change.last_event?.close_code ?? change.close_code;
  const at = Date.parse(change.last_event?.time ?? change.since ?? "");
  return h(
    "li",
    {},
    h("span", { class: "feed-time" }, Number.isNaN(at) ? "–" : clock(at)),
    deviceName(change),
    badge(status, word),
    h("span", { class: "muted" }, what !== "connect" && shortCause(code, change.cause)),
  );
}

/** @param {import("./types").Second[]} seconds */
function rateOf(seconds) {
  if (seconds.length === 0) return [h("p", { class: "muted" }, "Counting the changes of the first second…"), columns(Array(SECONDS_MAX).fill(0), "No second has been counted yet")];
  const values = [...Array(SECONDS_MAX - seconds.length).fill(0), ...seconds.map(({ total }) => total)];
  const period = seconds.length < SECONDS_MAX ? `in ${counted(seconds.length, "second")} so far` : "in the last minute";
  const last = seconds.at(-1)?.total ?? 0;
  const all = values.reduce((sum, value) => sum + value, 0);
  return [
    h("p", {}, h("strong", { class: "rate-number" }, count(last)), h("span", { class: "muted" }, ` ${last === 1 ? "change" : "changes"} in the last second, ${count(all)} ${period}, highest ${count(Math.max(...values))} a second`)),
    columns(values, `${counted(all, "change")} ${period}`),
  ];
}

/** @param {import("./types").Second[]} seconds */
function sumsOf(seconds) {
  /** @type {Map<string, {connects: number, others: number}>} */
  const types = new Map();
  /** @type {Map<string, number>} */
  const causes = new Map();
  for (const second of seconds) {
    for (const [type, { connects, others }] of second.types) {
      const sum = types.get(type) ?? { connects: 0, others: 0 };
      types.set(type, { connects: sum.connects + connects, others: sum.others + others });
    }
    for (const [cause, number] of second.causes) causes.set(cause, (causes.get(cause) ?? 0) + number);
  }
  const each = (/** @type {number} */ sum) => {
    const value = sum / Math.max(1, seconds.length);
    return value >= 10 ? count(Math.round(value)) : value.toFixed(1);
  };
  const table = (/** @type {string} */ title, /** @type {string[]} */ headings, /** @type {import("./dom.js").Child[]} */ rows) =>
    h(
      "section",
      { class: "card" },
      h("h2", {}, title, " ", h("small", {}, `a second, over ${SUM_SECONDS} s`)),
      h(
        "table",
        { class: "plain" },
        h("thead", {}, h("tr", {}, headings.map((heading, index) => h("th", { scope: "col", class: index > 0 ? "number" : "" }, heading)))),
        h("tbody", {}, rows),
      ),
    );
  const number = (/** @type {number} */ value) => h("td", { class: "number" }, each(value));
  const byType = [...types].sort(([a], [b]) => Number(a === OTHER) - Number(b === OTHER) || (a < b ? -1 : 1));
  const byCause = [...causes].sort(([, a], [, b]) => b - a);
  return [
    table(
      "By type",
      ["Type", "Connects", "Ends"],
      byType.map(([type, { connects, others }]) => h("tr", {}, h("th", { scope: "row" }, name(type)), number(connects), number(others))),
    ),
    table(
      "By cause",
      ["Cause", "Ends"],
      byCause.map(([cause, sum]) => h("tr", {}, h("th", { scope: "row" }, cause), number(sum))),
    ),
  ];
}

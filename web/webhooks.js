// Endpoints of webhooks: whether they receive what they are sent.

import { rights } from "./actions.js";
import { get, poll, segment } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { clock, counted } from "./format.js";
import { following, labelled } from "./filters.js";
import { badge, curl, failure, name, notice, when } from "./parts.js";
import { address, go } from "./router.js";
import { subscribe } from "./stream.js";
import { options } from "./values.js";
import { endpoint } from "./webhook.js";

const INTERVAL_MS = 3_000;
const PATH = "/api/v1/webhooks";

/** How each state is shown: by which shape, and in which words. @type {Record<string, [string, string]>} */
export const STATES = {
  starting: ["unknown", "Starting"],
  delivering: ["connected", "Delivering"],
  failing: ["disconnected", "Failing"],
  gone: ["disconnected", "Disabled: answered 410"],
  given_up: ["disconnected", "Disabled: failed five days"],
  elsewhere: ["unknown", "Elsewhere"],
  broken: ["disconnected", "TLS cannot be used"],
};

/** @param {string} state */
export function stateBadge(state) {
  const [status, word] = STATES[state] ?? ["unknown", state];
  return badge(status, word);
}

/** What came of an attempt. @param {import("./types").WebhookAttempt} attempt */
export function cameOf({ status, failure: why }) {
  return why === null ? badge("connected", `Accepted, ${status}`) : badge("disconnected", status === null ? "No answer" : `Answered ${status}`);
}

/** @param {import("./types").Webhook[]} endpoints */
export function endpointsTable(endpoints) {
  const row = (/** @type {import("./types").Webhook} */ { name: of, address: where, state, last_attempt, failing_since, dead_letters_total, position }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("div", { class: "device" }, h("a", { href: `#/webhooks/${segment(of)}` }, name(of)), h("span", { class: "muted" }, name(where)))),
      h(
        "td",
        {},
        stateBadge(state),
        failing_since && h("div", { class: "muted" }, "since ", when(failing_since)),
        dead_letters_total > 0 && h("div", { class: "narrow muted" }, counted(dead_letters_total, "dead letter")),
      ),
      h("td", { class: "wide" }, last_attempt ? [cameOf(last_attempt), h("div", {}, when(last_attempt.at))] : h("span", { class: "muted" }, "none since the start")),
      h("td", { class: "wide number" }, dead_letters_total > 0 ? h("strong", {}, dead_letters_total) : "0"),
      h("td", { class: "wide address" }, position ? name(position) : h("span", { class: "muted" }, "–")),
    );
  return h(
    "div",
    { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Endpoints" },
    h(
      "table",
      { class: "endpoints" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col", "aria-sort": "ascending" }, "Endpoint"),
          h("th", { scope: "col" }, "State"),
          h("th", { scope: "col", class: "wide" }, "Last attempt"),
          h("th", { scope: "col", class: "wide number" }, "Dead letters"),
          h("th", { scope: "col", class: "wide" }, "Position"),
        ),
      ),
      h("tbody", {}, endpoints.map(row)),
    ),
  );
}

/**
 * Why nothing is shown, if this browser may not see endpoints; their addresses and answers are an administrator's.
 * @param {string} title
 * @param {import("./dom.js").Child[]} why
 */
const locked = (title, why) => [h("h1", { tabindex: -1 }, name(title)), notice("info", h("strong", {}, "Webhooks are shown to administrators, and so are the actions on them. "), ...why)];

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} route
 * @param {AbortSignal} signal
 */
export function webhooks(root, route, signal) {
  let query = route.query;
  const of = route.segments[0];
  const body = h("div", { class: "stack" }, h("h1", { tabindex: -1 }, name(of ?? "Webhooks")), h("p", { class: "loading" }, "Loading…"));
  fill(root, body);
  subscribe({}, {}, signal);
  /** @type {(query: URLSearchParams) => void} */
  let follow = () => {};
  const begin = async () => {
    const { admin, why } = await rights();
    if (signal.aborted) return;
    if (!admin) fill(body, locked(of ?? "Webhooks", why), curl([{ path: of ? `${PATH}/${segment(of)}/deliveries` : PATH }]));
    else if (of) follow = endpoint(body, of, query, signal);
    else follow = list(body, query, signal);
  };
  void begin();
  return (/** @type {import("./types").Route} */ next) => {
    query = next.query;
    follow(query);
  };
}

/**
 * @param {HTMLElement} root
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
function list(root, query, signal) {
  const state = h("p", { class: "muted list-state", role: "status" });
  const table = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const form = following(query, stateFilter, (next) => go(address("webhooks", next)));
  const heading = h("h1", { tabindex: -1 }, "Webhooks");
  fill(root, h("div", { class: "title" }, heading, state), form.element, table, curl([{ path: PATH }, { path: "/metrics" }]));
  const load = async () => {
    try {
      /** @type {{webhooks: import("./types").Webhook[]}} */
      const { webhooks } = await get(PATH, signal);
      const wanted = query.getAll("state");
      const shown = webhooks.filter((webhook) => wanted.length === 0 || wanted.includes(webhook.state));
      patch(state, `${counted(webhooks.length, "endpoint")}, as of ${clock(Date.now())}.`);
      patch(table, shown.length > 0 ? endpointsTable(shown) : none(webhooks.length));
    } catch (error) {
      if (!signal.aborted) patch(table, failure(error, "The endpoints"));
    }
  };
  poll(load, INTERVAL_MS, signal);
  return (/** @type {URLSearchParams} */ next) => {
    query = next;
    form.follow(query);
    void load();
  };
}

/** @param {number} all */
function none(all) {
  if (all > 0) return h("p", { class: "empty" }, h("strong", {}, "No endpoint matches."), " Choose another state.");
  return h("p", { class: "empty" }, h("strong", {}, "No webhooks."), " A ", h("code", {}, "[[webhook]]"), " table in ", h("code", {}, "devstatus.toml"), " describes an endpoint to which changes are sent, signed.");
}

/**
 * @param {URLSearchParams} query
 * @param {(query: URLSearchParams, typing: boolean) => void} change
 */
function stateFilter(query, change) {
  const field = h("select", {}, options(Object.keys(STATES), "any", (state) => STATES[state]?.[1] ?? state));
  field.value = query.get("state") ?? "";
  field.addEventListener("change", () => change(new URLSearchParams(field.value ? { state: field.value } : {}), false));
  return h("form", { class: "filters", role: "search", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, labelled("State", field));
}

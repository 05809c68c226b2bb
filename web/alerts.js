// What the rules have found: alerts that wait, fire or have just ended, and what holds them back. Silences stand below.

import { orderButton, orders, outcome, rights } from "./actions.js";
import { get, poll, readiness, send } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { absolute, clock, count, counted } from "./format.js";
import { following, labelled, textField } from "./filters.js";
import { badge, curl, deviceName, failure, name, notice, when } from "./parts.js";
import { address, go } from "./router.js";
import { outputs } from "./outputs.js";
import { silences } from "./silences.js";
import { subscribe } from "./stream.js";
import { options, several } from "./values.js";

/** The stream tells of what is announced; what is pending or held back is asked for. */
const INTERVAL_MS = 5_000;
/** Several groups change at once. */
const SETTLE_MS = 300;
/** Alerts that are shown at first, and after a click. Filters lead to the others. */
const SHOWN = 50;
const SHOWN_MAX = 1_000;
/** Alerts that have ended while the view was open. */
const ENDED_MAX = 50;
const STATES = ["firing", "pending"];
/** How long a group can be acknowledged by a click. @type {Record<string, string>} */
export const LENGTHS = { "1h": "1 hour", "4h": "4 hours", "1d": "1 day", "7d": "7 days" };

/** @type {Record<string, string>} */
const REASONS = {
  stale: "it is not observed; the clock of the rule stands",
  population: "not all devices of the type are known yet; the clock stands",
  startup: "the service or the link has just come back; the clock stands",
  fleet_drop: "a drop of its whole group is announced in its place",
  flapping: "the device flaps, which is announced in its place",
  maintenance: "a maintenance window is open",
  silence: "it is silenced",
};

/** @type {Record<string, [string, string]>} */
const WORDS = { firing: ["disconnected", "Firing"], pending: ["unknown", "Pending"], resolved: ["connected", "Resolved"] };

/** @param {import("./types").Alert} alert */
const keyOf = ({ rule, group, device }) => JSON.stringify([rule, group, device?.type, device?.id]);

/** @param {URLSearchParams} query */
function pathOf(query) {
  const asked = new URLSearchParams(query);
  if (!asked.has("limit")) asked.set("limit", String(SHOWN));
  return `/api/v1/alerts?${asked}`;
}

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} route
 * @param {AbortSignal} signal
 */
export function alerts(root, route, signal) {
  let query = route.query;
  const state = h("p", { class: "muted list-state", role: "status" });
  const situation = h("div", { class: "stack" });
  const line = outcome();
  const table = new AlertTable();
  const length = h("select", {}, Object.entries(LENGTHS).map(([value, text]) => h("option", { value, selected: value === "4h" }, text)));
  const head = h("div", { class: "card-head" }, h("h2", {}, "Alerts"));
  const commands = h("div", {});
  const more = h("p", { class: "more-link" });
  const form = following(query, alertFilters, (next, typing) => go(address("alerts", next), { replace: typing }));
  const list = h("section", { class: "card" }, head, line.element, table.element, more);
  const silenced = silences(signal);
  const rules = h("datalist", { id: "rules" });
  const sentTo = outputs(signal, (names) => fill(rules, names.map((value) => h("option", { value }))));
  const parts = h("div", { class: "stack" }, form.element, list, silenced.element, sentTo.element, rules);
  fill(root, h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Alerts"), state), situation, parts, commands);

  let loads = 0;
  const load = async () => {
    const number = ++loads;
    try {
      /** @type {import("./types").Alerts} */
      const answer = await get(pathOf(query), signal);
      const explained = await situationOf(answer.evaluation, signal);
      // Nothing waits from here on, so what is shown is of these filters.
      if (number !== loads) return;
      parts.hidden = answer.evaluation === "off";
      patch(situation, ...explained);
      table.show(answer, [...query.keys()].some((key) => key !== "limit"));
      patch(state, stateOf(answer));
      patch(more, answer.total > answer.alerts.length && moreLink(query, answer.total));
    } catch (error) {
      if (signal.aborted || number !== loads) return;
      patch(state, "");
      table.fail(failure(error, "The alerts"));
    }
  };
  orders(list, line, {
    acknowledge: {
      failed: "The group is not acknowledged.",
      run: async ({ rule = "", group = "" }) => {
        await send("POST", `/api/v1/alerts/acknowledgement?${new URLSearchParams({ rule, group, for: length.value })}`);
        line.done(`Acknowledged for ${LENGTHS[length.value]}: until then it is not announced again because nothing has changed.`);
        await load();
      },
    },
    unacknowledge: {
      failed: "It is still acknowledged.",
      run: async ({ rule = "", group = "" }) => {
        await send("DELETE", `/api/v1/alerts/acknowledgement?${new URLSearchParams({ rule, group })}`);
        line.done("Acknowledged no longer.");
        await load();
      },
    },
  });
  const showRights = async () => {
    const { admin, why } = await rights();
    table.admin = admin;
    silenced.setRights(admin);
    sentTo.setRights(admin);
    if (admin) head.append(labelled("Acknowledge for", length));
    else list.append(h("p", { class: "muted rights" }, "Acknowledgements and silences are not offered here. ", why));
    await load();
  };
  const showCommands = () =>
    fill(commands, curl([{ path: pathOf(query) }, { path: "/api/v1/silences" }, { path: "/api/v1/rules" }, { path: "/api/v1/webhooks" }, { path: "/readyz" }, { path: "/api/v1/events?alerts=true", options: "-N" }]));
  showCommands();
  void showRights();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      if (!signal.aborted) void load();
    }, SETTLE_MS);
  };
  subscribe({}, { alerts: soon, refresh: soon }, signal);
  poll(load, INTERVAL_MS, signal);
  return (/** @type {import("./types").Route} */ next) => {
    query = next.query;
    form.follow(query);
    table.forget();
    showCommands();
    void load();
  };
}

/** @param {URLSearchParams} query @param {number} total */
function moreLink(query, total) {
  const all = new URLSearchParams(query);
  all.set("limit", String(SHOWN_MAX));
  return h("a", { class: "button quiet", href: address("alerts", all) }, total > SHOWN_MAX ? `Show the first ${count(SHOWN_MAX)}` : `Show all ${count(total)}`);
}

/** @param {import("./types").Alerts} answer */
function stateOf({ evaluation, total, alerts }) {
  if (evaluation === "off") return "";
  const part = total > alerts.length ? `, the first ${count(alerts.length)} are shown` : "";
  return `${counted(total, "alert")}${part}, as of ${clock(Date.now())}.`;
}

/**
 * What keeps alerts from being made at all.
 * @param {string} evaluation
 * @param {AbortSignal} signal
 */
async function situationOf(evaluation, signal) {
  if (evaluation === "off") {
    return [
      h(
        "section",
        { class: "card" },
        h("p", { class: "empty" }, h("strong", {}, "No alert rules are evaluated."), " The settings have no ", h("code", {}, "[[rule]]"), " table, or ", h("code", {}, "--map-limit"), " is set."),
        h("p", { class: "muted" }, "A rule in ", h("code", {}, "devstatus.toml"), " says what is worth a message; ", h("code", {}, "devstatus rules check"), " checks it, and ", h("code", {}, "devstatus rules test"), " says what it would have announced on the history."),
      ),
    ];
  }
  const asked = await readiness(signal).catch(() => null);
  const since = asked?.staleSince ? ` since ${absolute(asked.staleSince)}` : "";
  return [
    evaluation === "starting" && notice("info", h("strong", {}, "The devices are still being read. "), "The clocks of the rules begin after that, and after the startup grace."),
    evaluation === "elsewhere" && notice("info", h("strong", {}, "Another instance evaluates the rules. "), "This list shows what that one has announced; ask it for what is pending."),
    asked?.readiness.stale && notice("warning", h("strong", {}, `The fleet is not observed${since}. `), "No alert is made from what was not observed: the clocks of the rules stand until the broker is back."),
  ];
}

/**
 * @param {URLSearchParams} query
 * @param {(query: URLSearchParams, typing: boolean) => void} change
 */
function alertFilters(query, change) {
  const tell = () => change(read(), false);
  /** @param {string} parameter @param {string} label @param {HTMLInputElement | HTMLSelectElement} field */
  const each = (parameter, label, field) => several({ label, field, values: query.getAll(parameter), change: tell });
  const fields = {
    rule: each("rule", "Rule", textField({ list: "rules" })),
    group: each("group", "Group", textField()),
    type: each("type", "Type", textField()),
    state: each("state", "State", h("select", {}, options(STATES))),
  };
  const read = () => {
    const next = new URLSearchParams();
    for (const [parameter, field] of Object.entries(fields)) for (const value of field.read()) next.append(parameter, value);
    return next;
  };
  const clear = () => {
    for (const field of Object.values(fields)) field.clear();
    tell();
  };
  return h(
    "form",
    { class: "filters", role: "search", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
    Object.values(fields).map(({ element }) => element),
    h("button", { type: "button", class: "quiet", on: { click: clear } }, "Clear"),
  );
}

/**
 * The rows; each is changed in place. Their order follows the service's only while nobody points at the table, so that none moves
 * away under the mouse. What has ended stays for a while.
 */
class AlertTable {
  constructor() {
    /** @type {Map<string, {alert: import("./types").Alert, ended: boolean, row: HTMLTableRowElement}>} */
    this.rows = new Map();
    this.admin = false;
    this.body = h("tbody", {});
    this.none = h("div", {}, h("p", { class: "loading" }, "Loading…"));
    this.table = h(
      "table",
      { class: "alerts" },
      h("caption", { class: "unseen" }, "Alerts that match the filters, those that fire first"),
      h("thead", {}, h("tr", {}, ["Alert", "State", "Since", "Held back", "Acknowledged"].map((text, index) => h("th", { scope: "col", class: index > 1 ? "wide" : "" }, text)))),
      this.body,
    );
    this.frame = h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Alerts", hidden: true }, this.table);
    this.element = h("div", {}, this.none, this.frame);
  }

  /** Other filters: what was shown has not ended. */
  forget() {
    this.rows.clear();
    this.body.replaceChildren();
  }

  /** @param {HTMLElement} problem */
  fail(problem) {
    this.forget();
    this.frame.hidden = true;
    fill(this.none, problem);
  }

  /**
   * @param {import("./types").Alerts} answer
   * @param {boolean} filtered
   */
  show({ alerts, total }, filtered) {
    const found = new Map(alerts.map((alert) => [keyOf(alert), alert]));
    for (const [key, known] of this.rows) {
      const alert = found.get(key);
      known.ended = !alert;
      if (alert) known.alert = alert;
    }
    // What is cut off by the limit has not ended.
    if (total > alerts.length) for (const [key, { ended }] of this.rows) if (ended) this.rows.delete(key);
    for (const [key, alert] of found) if (!this.rows.has(key)) this.rows.set(key, { alert, ended: false, row: h("tr", {}) });
    for (const key of [...this.rows].filter(([, { ended }]) => ended).map(([key]) => key).slice(0, -ENDED_MAX)) this.rows.delete(key);
    for (const { alert, ended, row } of this.rows.values()) {
      patch(row, this.#cells(alert, ended));
      row.classList.toggle("left", ended);
    }
    this.#place([...found.keys()]);
    this.frame.hidden = this.rows.size === 0;
    fill(this.none, this.rows.size === 0 && h("p", { class: "empty" }, h("strong", {}, filtered ? "No alert matches." : "Nothing fires."), filtered ? " Change or clear the filters." : " No rule has found anything that lasts."));
  }

  /** @param {string[]} order */
  #place(order) {
    const wanted = [...order.map((key) => this.rows.get(key)), ...[...this.rows.values()].filter(({ ended }) => ended)];
    const rows = wanted.flatMap((known) => (known ? [known.row] : []));
    const isUsed = this.element.matches(":hover") || this.element.contains(document.activeElement);
    for (const row of [...this.body.children]) if (!rows.includes(/** @type {HTMLTableRowElement} */ (row))) row.remove();
    if (isUsed) for (const row of rows.filter(({ isConnected }) => !isConnected)) this.body.append(row);
    else rows.forEach((row, index) => this.body.children[index] !== row && this.body.insertBefore(row, this.body.children[index] ?? null));
  }

  /**
   * @param {import("./types").Alert} alert
   * @param {boolean} ended
   */
  #cells(alert, ended) {
    const { rule, kind, group, device, since } = alert;
    const [status = "unknown", word] = WORDS[ended ? "resolved" : alert.state] ?? ["unknown", alert.state];
    const held = !ended && alert.suppressed_by;
    const reason = held ? (REASONS[held] ?? held) : "";
    const known = device ? `${device.type}/${device.id}` : "";
    const isOfGroup = group !== "" && group !== device?.type && group !== known;
    // On a phone it stands below the state.
    const acknowledgement = () => this.#acknowledgement(alert, ended);
    return [
      h(
        "th",
        { scope: "row" },
        device ? deviceName(device) : h("div", { class: "device" }, h("strong", {}, name(group || "the whole fleet"))),
        h("div", { class: "muted" }, name(rule), rule !== kind && ` · ${kind.replaceAll("_", " ")}`, device && isOfGroup && [" · group ", name(group)]),
      ),
      h("td", {}, badge(status, word), h("div", { class: "narrow" }, when(since)), reason && h("div", { class: "narrow muted" }, `Held back: ${reason}`), h("div", { class: "narrow" }, acknowledgement())),
      h("td", { class: "wide" }, when(since)),
      h("td", { class: "wide" }, reason || h("span", { class: "muted" }, "–")),
      h("td", { class: "wide" }, acknowledgement() ?? h("span", { class: "muted" }, "–")),
    ];
  }

  /**
   * Until when the alert's group is acknowledged, and the button that changes it.
   * @param {import("./types").Alert} alert
   * @param {boolean} ended
   */
  #acknowledgement({ rule, group, device, state, suppressed_by, acknowledged_until }, ended) {
    const until = Date.parse(acknowledged_until ?? "");
    const of = group || (device ? `${device.type}/${device.id}` : rule);
    if (ended) return null;
    if (!Number.isNaN(until)) {
      return [
        h("div", {}, `Acknowledged until ${absolute(until)}`),
        this.admin && orderButton("unacknowledge", "Take back", { rule, group }, `Take back the acknowledgement of ${of}`),
      ];
    }
    // What is held back was not announced, so there is nothing to acknowledge.
    if (!this.admin || state !== "firing" || suppressed_by) return null;
    return orderButton("acknowledge", "Acknowledge", { rule, group }, `Acknowledge ${rule}: ${of}`);
  }
}

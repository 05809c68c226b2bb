// When nothing is announced: silences, which are made and ended here, and the maintenance windows of the settings.

import { orderButton, orders, outcome } from "./actions.js";
import { get, poll, send } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { absolute, currentZone } from "./format.js";
import { labelled, suggest, textField } from "./filters.js";
import { selected } from "./outputs.js";
import { badge, curl, failure, name, when } from "./parts.js";
import { several } from "./values.js";
import { instant } from "./zone-time.js";

const INTERVAL_MS = 10_000;
const TEXT_MAX = 1_000;
/** How long a silence can be by a choice. @type {Record<string, string>} */
const LENGTHS = { "1h": "1 hour", "2h": "2 hours", "8h": "8 hours", "1d": "1 day", "7d": "7 days", "": "until a time" };

/** @param {AbortSignal} signal */
export function silences(signal) {
  let admin = false;
  const line = outcome();
  const list = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const windows = h("section", { class: "card", hidden: true });
  const adding = h("div", {});
  const card = h("section", { class: "card" }, h("h2", {}, "Silences ", h("small", {}, "what they are about is evaluated and not announced")), line.element, list, adding);
  const load = async () => {
    try {
      /** @type {import("./types").Silences} */
      const answer = await get("/api/v1/silences", signal);
      patch(list, silencesOf(answer.silences, admin));
      windows.hidden = false;
      patch(windows, ...windowsOf(answer.windows));
    } catch (error) {
      if (!signal.aborted) patch(list, failure(error, "The silences"));
    }
  };
  orders(card, line, {
    end: {
      failed: "The silence has not ended.",
      run: async ({ id = "" }) => {
        await send("DELETE", `/api/v1/silences/${encodeURIComponent(id)}`);
        line.done("The silence has ended.");
        await load();
      },
    },
  });
  poll(load, INTERVAL_MS, signal);
  return {
    element: h("div", { class: "stack" }, card, windows),
    /** @param {boolean} allowed */
    setRights: (allowed) => {
      admin = allowed;
      const made = async () => {
        line.done("The silence is made.");
        await load();
      };
      fill(adding, admin && silenceForm(line, made));
      void load();
    },
  };
}

/** What a silence is about. @param {import("./types").Silence} silence */
function about(silence) {
  const { rules, ...selector } = silence;
  const isAny = Object.values({ types: silence.types, ids: silence.ids, prefixes: silence.id_prefixes, sources: silence.sources }).every((values) => values.length === 0);
  if (rules.length === 0 && isAny) return h("strong", {}, "All alerts");
  return [rules.length > 0 && h("div", {}, h("span", { class: "muted" }, "rule "), rules.map((rule, index) => [index > 0 && " or ", name(rule)])), !isAny && selected(selector)];
}

/** @param {import("./types").Silence} silence @returns {[string, string]} */
function stateOf({ active, from }) {
  if (active) return ["connected", "Active"];
  return Date.parse(from) > Date.now() ? ["unknown", "Not yet"] : ["never_connected", "Over"];
}

/**
 * @param {import("./types").Silence[]} all
 * @param {boolean} admin
 */
function silencesOf(all, admin) {
  if (all.length === 0) return h("p", { class: "muted" }, "Nothing is silenced.");
  const row = (/** @type {import("./types").Silence} */ silence) => {
    const [status, word] = stateOf(silence);
    const why = () => [silence.comment && name(silence.comment), silence.author && h("div", { class: "muted" }, name(silence.author))];
    const canEnd = admin && silence.id !== null && status !== "never_connected";
    const end = () => (canEnd ? orderButton("end", "End", { id: silence.id ?? "" }, `End the silence ${silence.comment || silence.id}`) : silence.id === null && h("span", { class: "muted" }, "in the settings"));
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, about(silence), h("div", { class: "narrow muted" }, why())),
      h("td", {}, badge(status, word), h("div", { class: "narrow" }, `until ${absolute(Date.parse(silence.until))}`), h("div", { class: "narrow" }, end())),
      h("td", { class: "wide" }, when(silence.from)),
      h("td", { class: "wide" }, when(silence.until)),
      h("td", { class: "wide" }, silence.comment || silence.author ? why() : h("span", { class: "muted" }, "–")),
      h("td", { class: "wide" }, end()),
    );
  };
  // What holds something back now comes first.
  const rank = (/** @type {import("./types").Silence} */ silence) => ["connected", "unknown", "never_connected"].indexOf(stateOf(silence)[0]);
  const sorted = [...all].sort((a, b) => rank(a) - rank(b) || (a.until < b.until ? -1 : 1));
  const headings = ["About", "State", "From", "Until", "Why, and who"];
  return h(
    "div",
    { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Silences" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, headings.map((text, index) => h("th", { scope: "col", class: index > 1 ? "wide" : "" }, text)), h("th", { scope: "col", class: "wide" }, h("span", { class: "unseen" }, "Action")))),
      h("tbody", {}, sorted.map(row)),
    ),
  );
}

/** @param {import("./types").MaintenanceWindow[]} windows */
function windowsOf(windows) {
  const heading = h("h2", {}, "Maintenance windows ", h("small", {}, "of the settings"));
  if (windows.length === 0) return [heading, h("p", { class: "muted" }, "The settings have no ", h("code", {}, "[[window]]"), " table.")];
  const row = (/** @type {import("./types").MaintenanceWindow} */ window) =>
    h("tr", {}, h("th", { scope: "row" }, name(window.name), h("div", { class: "narrow muted" }, window.schedule)), h("td", {}, selected(window.selector)), h("td", {}, window.open ? badge("connected", "Open") : badge("never_connected", "Closed")), h("td", { class: "wide" }, window.schedule));
  return [
    heading,
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["Window", "Devices", "State", "When"].map((text, index) => h("th", { scope: "col", class: index > 2 ? "wide" : "" }, text)))), h("tbody", {}, windows.map(row))),
  ];
}

/**
 * @param {ReturnType<typeof outcome>} line
 * @param {() => Promise<void>} made
 */
function silenceForm(line, made) {
  const [types, sources] = [h("datalist", { id: "types" }), h("datalist", { id: "sources" })];
  const hint = h("p", { class: "muted", role: "status" });
  const command = h("div", {});
  const length = h("select", {}, Object.entries(LENGTHS).map(([value, text]) => h("option", { value, selected: value === "2h" }, text)));
  const from = h("input", { type: "datetime-local", step: 1 });
  const until = h("input", { type: "datetime-local", step: 1 });
  const author = textField({ placeholder: "", required: true, maxlength: TEXT_MAX });
  const comment = textField({ placeholder: "", required: true, maxlength: TEXT_MAX });
  /** @param {string} label @param {HTMLInputElement} field */
  const each = (label, field) => several({ label, field, partial: true, change: () => show() });
  const fields = {
    rule: each("Rule", textField({ list: "rules" })),
    type: each("Type", textField({ list: "types" })),
    id: each("Id is exactly", textField()),
    id_prefix: each("Id begins with", textField()),
    source: each("Source", textField({ list: "sources" })),
  };
  const path = () => {
    const query = new URLSearchParams();
    for (const [parameter, field] of Object.entries(fields)) for (const value of field.read()) query.append(parameter, value);
    /** @type {[string, string][]} */
    const rest = [["from", instant(from.value)], ["for", length.value], ["until", length.value ? "" : instant(until.value)], ["author", author.value.trim()], ["comment", comment.value.trim()]];
    for (const [parameter, value] of rest) if (value) query.set(parameter, value);
    return `/api/v1/silences?${query}`;
  };
  const ends = labelled(`Until (${currentZone()})`, until);
  const show = () => {
    ends.hidden = length.value !== "";
    until.required = length.value === "";
    const isAll = Object.values(fields).every((field) => field.read().length === 0);
    patch(hint, isAll ? "Nothing is chosen, so all alerts are silenced." : "Values of a field mean “or”, fields mean “and”.");
    fill(command, curl([{ path: path(), options: "-X POST" }], "The same silence by curl"));
  };
  for (const field of [length, from, until, author, comment]) field.addEventListener("input", show);
  fields.type.field.addEventListener("focus", () => void suggest(types, sources), { once: true });
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await send("POST", path());
      for (const field of Object.values(fields)) field.clear();
      comment.value = "";
      details.open = false;
      show();
      await made();
    } catch (error) {
      line.failed("The silence is not made.", error);
    }
  };
  const details = h(
    "details",
    { class: "adding" },
    h("summary", {}, "New silence"),
    h(
      "form",
      { class: "filters", "aria-label": "New silence", on: { submit } },
      Object.values(fields).map(({ element }) => element),
      labelled(`From (${currentZone()}), empty: now`, from),
      labelled("For", length),
      ends,
      labelled("Who", author),
      labelled("Why", comment),
      h("button", { type: "submit" }, "Silence"),
      types,
      sources,
    ),
    hint,
    command,
  );
  show();
  return details;
}

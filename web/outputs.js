// The rules of the settings, and where their alerts are sent to: whether they arrive there.

import { get, poll } from "./api.js";
import { h, patch } from "./dom.js";
import { badge, failure, name } from "./parts.js";
import { endpointsTable } from "./webhooks.js";

const INTERVAL_MS = 10_000;

/** @type {Record<string, [string, string]>} */
const WORKS = { true: ["connected", "Accepts"], false: ["disconnected", "Accepts nothing"], null: ["unknown", "Nothing sent yet"] };

/**
 * @param {AbortSignal} signal
 * @param {(names: string[]) => void} onRules is told the names of the rules
 */
export function outputs(signal, onRules) {
  let admin = false;
  const loading = () => h("p", { class: "loading" }, "Loading…");
  const body = h("div", {}, loading());
  const rules = h("div", {}, loading());
  const load = async () => {
    try {
      /** @type {import("./types").Rules} */
      const answer = await get("/api/v1/rules", signal);
      onRules(answer.rules.map(({ name }) => name));
      patch(rules, rulesOf(answer.rules));
      if (!admin) return patch(body, outputsOf(answer.outputs));
      /** @type {{webhooks: import("./types").Webhook[]}} */
      const { webhooks } = await get("/api/v1/webhooks", signal);
      patch(body, webhooks.length > 0 ? endpointsTable(webhooks) : none());
    } catch (error) {
      if (!signal.aborted) patch(body, failure(error, "The outputs"));
    }
  };
  return {
    element: h(
      "div",
      { class: "stack" },
      h("section", { class: "card" }, h("h2", {}, "Outputs ", h("small", {}, "where alerts are sent to")), body),
      h("section", { class: "card" }, h("h2", {}, "Rules ", h("small", {}, "of the settings")), rules),
    ),
    /** @param {boolean} allowed */
    setRights: (allowed) => {
      admin = allowed;
      poll(load, INTERVAL_MS, signal);
    },
  };
}

const none = () => h("p", { class: "muted" }, "No webhook is set up, so alerts are seen here alone.");

/** @param {import("./types").Rules["outputs"]} outputs */
function outputsOf(outputs) {
  if (outputs.length === 0) return none();
  const row = (/** @type {import("./types").Rules["outputs"][number]} */ { name: of, format, works }) =>
    h("tr", {}, h("th", { scope: "row" }, name(of)), h("td", {}, badge(...(WORKS[String(works)] ?? ["unknown", String(works)]))), h("td", {}, format));
  return h("table", { class: "plain" }, headings(["Endpoint", "State", "Format"]), h("tbody", {}, outputs.map(row)));
}

/** @param {string[]} texts @param {number} [wide] from which on the columns are wide */
const headings = (texts, wide = 9) => h("thead", {}, h("tr", {}, texts.map((text, index) => h("th", { scope: "col", class: index >= wide ? "wide" : "" }, text))));

/** @param {import("./types").Rules["rules"]} rules */
function rulesOf(rules) {
  if (rules.length === 0) return h("p", { class: "muted" }, "There are no rules.");
  const row = (/** @type {import("./types").Rules["rules"][number]} */ { name: of, kind, for: hold, group_by, selector, webhooks }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name(of), h("div", { class: "muted" }, `${kind.replaceAll("_", " ")}${hold === "0s" ? "" : `, for ${hold}`}`)),
      h("td", {}, selected(selector)),
      h("td", { class: "wide" }, group_by.replaceAll("_", " ")),
      h("td", { class: "wide" }, webhooks.length > 0 ? webhooks.map((to, index) => [index > 0 && ", ", name(to)]) : h("span", { class: "muted" }, "nowhere")),
    );
  return h("table", {}, headings(["Rule", "Devices", "Together by", "Sent to"], 2), h("tbody", {}, rules.map(row)));
}

/** Which devices a selector admits. @param {import("./types").Selector} selector */
export function selected({ types, ids, id_prefixes, sources }) {
  /** @type {[string, string[]][]} */
  const parts = [["type", types], ["id", ids], ["id begins with", id_prefixes], ["source", sources]];
  const said = parts.filter(([, values]) => values.length > 0);
  if (said.length === 0) return h("span", { class: "muted" }, "all");
  return said.map(([word, values]) => h("div", {}, h("span", { class: "muted" }, `${word} `), values.map((value, index) => [index > 0 && " or ", name(value)])));
}

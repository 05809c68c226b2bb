// The filters of a list or of the feed, as a form whose state is the address of the page.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { EXPECTATIONS, currentZone } from "./format.js";
import { options, several } from "./values.js";
import { instant, wallTime } from "./zone-time.js";

/** A person pauses so long between two keys only when a word is complete. */
const TYPING_MS = 300;

/** The cause classes, as the API names them. */
const CAUSES = ["ended", "connection", "server", "timeout", "tls", "refused", "takeover", "protocol", "asleep", "parent_offline", "unknown"];

/** Of a device that is listed, by its contact policy. */
const EXPECTED = ["met", "overdue", "none"];

const CODES = ["0", "91", "92", "93", "94", "160", "180", "288"];

/** @type {Record<string, string>} */
const STATUSES = { connected: "Connected", disconnected: "Disconnected" };

/** A field for a name. @param {Record<string, any>} [more] */
export const textField = (more = {}) => h("input", { placeholder: "any", autocomplete: "off", spellcheck: "false", maxlength: 256, ...more });

/** @param {string} label @param {HTMLElement} field */
export const labelled = (label, field) => h("label", {}, h("span", {}, label), field);

/**
 * Statuses: one is chosen. Several, as an address may give, are one further choice.
 * @param {string[]} chosen
 */
function statusField(chosen) {
  const all = chosen.join(" ");
  const words = chosen.map((status) => STATUSES[status] ?? status).join(" or ");
  const field = h("select", {}, options(Object.keys(STATUSES), "any", (status) => STATUSES[status] ?? status), !(all in STATUSES) && all !== "" && h("option", { value: all }, words));
  field.value = all;
  return field;
}

/** The filters of an address, without page and order. @param {URLSearchParams} query */
function filtersOf(query) {
  const part = new URLSearchParams(query);
  for (const other of ["sort", "limit", "cursor"]) part.delete(other);
  part.sort();
  return part.toString();
}

/**
 * A form that follows the address: when somebody goes back, it is built anew.
 * @param {URLSearchParams} query
 * @param {(query: URLSearchParams, change: (next: URLSearchParams, typing: boolean) => void) => HTMLFormElement} build
 * @param {(next: URLSearchParams, typing: boolean) => void} change
 */
export function following(query, build, change) {
  const element = h("div", {});
  let told = "";
  const follow = (/** @type {URLSearchParams} */ of) => {
    if (told === filtersOf(of) && element.childElementCount > 0) return;
    told = filtersOf(of);
    fill(element, build(of, (next, typing) => {
      told = filtersOf(next);
      change(next, typing);
    }));
  };
  follow(query);
  return { element, follow };
}

/**
 * @param {object} options
 * @param {URLSearchParams} options.query
 * @param {boolean} options.times whether a period can be chosen, too
 * @param {(query: URLSearchParams, typing: boolean) => void} options.change
 */
export function filters({ query, times, change }) {
  const suggestions = h("datalist", { id: "types" });
  const sources = h("datalist", { id: "sources" });
  const codes = h("datalist", { id: "codes" }, CODES.map((code) => h("option", { value: code })));
  const value = (/** @type {string} */ field) => query.get(field) ?? "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const tell = (typing = false) => {
    clearTimeout(timer);
    if (typing) timer = setTimeout(() => change(read(), true), TYPING_MS);
    else change(read(), false);
  };
  /** @param {string} parameter @param {string} label @param {HTMLInputElement | HTMLSelectElement} field @param {boolean} partial @param {(value: string) => string} [word] */
  const each = (parameter, label, field, partial, word) => several({ label, field, values: query.getAll(parameter), partial, word, change: tell });
  const expected = (/** @type {string} */ value) => EXPECTATIONS[value] ?? value;
  const fields = {
    type: each("type", "Type", textField({ list: "types" }), false),
    source: each("source", "Source", textField({ list: "sources", maxlength: 129 }), true),
    id: each("id", "Id is exactly", textField(), true),
    id_prefix: each("id_prefix", "Id begins with", textField({ type: "search", placeholder: "" }), true),
    close_code: each("close_code", "Close code", textField({ list: "codes", inputmode: "numeric", size: 6, maxlength: 5 }), true),
    cause: each("cause", "Cause", h("select", {}, options(CAUSES)), false),
    expectation: each("expectation", "Expectation", h("select", {}, options(EXPECTED, "any", expected)), false, expected),
    address: each("address", "From address or block", textField({ placeholder: "192.0.2.0/24", size: 18, maxlength: 64 }), true),
  };
  const status = statusField(query.getAll("status"));
  const since = h("input", { type: "datetime-local", value: wallTime(value("since")), step: 1 });
  const until = h("input", { type: "datetime-local", value: wallTime(value("until")), step: 1 });

  const read = () => {
    const next = new URLSearchParams();
    for (const [parameter, field] of Object.entries(fields)) {
      const trims = parameter !== "type" && parameter !== "id" && parameter !== "id_prefix";
      for (const each of field.read()) next.append(parameter, trims ? each.trim() : each);
    }
    for (const each of status.value.split(" ").filter(Boolean)) next.append("status", each);
    for (const [parameter, field] of /** @type {[string, HTMLInputElement][]} */ ([["since", since], ["until", until]])) {
      const text = times ? instant(field.value) : "";
      if (text) next.set(parameter, text);
    }
    return next;
  };
  for (const field of [status, since, until]) field.addEventListener("change", () => tell());
  for (const { field } of [fields.type, fields.source]) field.addEventListener("focus", () => void suggest(suggestions, sources), { once: true });

  const clear = () => {
    for (const field of Object.values(fields)) field.clear();
    for (const field of [status, since, until]) field.value = "";
    tell();
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    tell();
  };
  const hidden = ["id", "address", "source", "expectation", "since", "until"].some((field) => value(field));
  return h(
    "form",
    { class: "filters", role: "search", on: { submit } },
    fields.id_prefix.element,
    fields.type.element,
    labelled("Status", status),
    fields.cause.element,
    fields.close_code.element,
    h(
      "details",
      { class: "more", open: hidden },
      h("summary", {}, "More filters"),
      h(
        "div",
        { class: "more-body" },
        fields.id.element,
        fields.address.element,
        fields.source.element,
        fields.expectation.element,
        times && labelled(`Changed since (${currentZone()})`, since),
        times && labelled("Changed before", until),
      ),
    ),
    h("button", { type: "button", class: "quiet", on: { click: clear } }, "Clear"),
    suggestions,
    sources,
    codes,
  );
}

/**
 * @param {HTMLDataListElement} ofTypes
 * @param {HTMLDataListElement} ofSources
 */
export async function suggest(ofTypes, ofSources) {
  try {
    /** @type {import("./types").Summary} */
    const { types, sources } = await get("/api/v1/summary");
    fill(ofTypes, types.map(({ type }) => h("option", { value: type })));
    fill(ofSources, sources.map(({ source }) => h("option", { value: source })));
  } catch {
    // Suggestions are a help; a name can be typed.
  }
}

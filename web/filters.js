// The filters of a list or of the feed, as a form whose state is the address of the page.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { currentZone } from "./format.js";
import { name } from "./parts.js";

/** A person pauses so long between two keys only when a word is complete. */
const TYPING_MS = 300;
/** As many types as the API lets be asked for at once. */
const TYPES_MAX = 100;

/** The cause classes, as the API names them. */
const CAUSES = ["ended", "connection", "server", "timeout", "tls", "refused", "takeover", "protocol", "asleep", "parent_offline", "unknown"];

const CODES = ["0", "91", "92", "93", "94", "160", "180", "288"];

/**
 * @param {object} options
 * @param {URLSearchParams} options.query
 * @param {boolean} options.times whether a period can be chosen, too
 * @param {(query: URLSearchParams, typing: boolean) => void} options.change
 */
export function filters({ query, times, change }) {
  let types = query.getAll("type");
  const chips = h("span", { class: "chips" });
  const suggestions = h("datalist", { id: "types" });
  const sources = h("datalist", { id: "sources" });
  const codes = h("datalist", { id: "codes" }, CODES.map((code) => h("option", { value: code })));
  const value = (/** @type {string} */ field) => query.get(field) ?? "";

  const prefix = h("input", { type: "search", value: value("id_prefix"), autocomplete: "off", spellcheck: "false", maxlength: 256 });
  const type = h("input", { list: "types", placeholder: "any", autocomplete: "off", spellcheck: "false", maxlength: 256 });
  const status = h(
    "select",
    {},
    [["", "any"], ["connected", "Connected"], ["disconnected", "Disconnected"]].map(([key, text]) =>
      h("option", { value: key, selected: value("status") === key }, text),
    ),
  );
  const code = h("input", { list: "codes", inputmode: "numeric", value: value("close_code"), placeholder: "any", size: 6, maxlength: 5 });
  const cause = h(
    "select",
    {},
    ["", ...CAUSES].map((key) => h("option", { value: key, selected: value("cause") === key }, key === "" ? "any" : key.replaceAll("_", " "))),
  );
  const id = h("input", { value: value("id"), placeholder: "any", autocomplete: "off", spellcheck: "false", maxlength: 256 });
  const where = h("input", { value: value("address"), placeholder: "192.0.2.0/24", spellcheck: "false", size: 18, maxlength: 64 });
  const source = h("input", { list: "sources", value: value("source"), placeholder: "any", autocomplete: "off", spellcheck: "false", maxlength: 129 });
  const since = h("input", { type: "datetime-local", value: wallTime(value("since")), step: 1 });
  const until = h("input", { type: "datetime-local", value: wallTime(value("until")), step: 1 });

  const read = () => {
    const next = new URLSearchParams();
    for (const chosen of types) next.append("type", chosen);
    const entries = [
      ["source", source.value.trim()],
      ["id", id.value],
      ["id_prefix", prefix.value],
      ["status", status.value],
      ["close_code", code.value.trim()],
      ["cause", cause.value],
      ["address", where.value.trim()],
      ["since", times ? instant(since.value) : ""],
      ["until", times ? instant(until.value) : ""],
    ];
    for (const [field = "", text = ""] of entries) {
      const given = query.getAll(field);
      // An address may give a filter several times; a field shows the first and keeps the others until it is changed.
      if (given.length > 1 && text === given[0]) for (const each of given) next.append(field, each);
      else if (text) next.set(field, text);
    }
    return next;
  };
  const tell = (typing = false) => change(read(), typing);

  const showChips = () =>
    fill(
      chips,
      types.map((chosen) =>
        h(
          "button",
          { type: "button", class: "chip", "aria-label": `Remove the type ${chosen}`, on: { click: () => remove(chosen) } },
          name(chosen),
          h("span", { "aria-hidden": "true" }, " ×"),
        ),
      ),
    );
  const remove = (/** @type {string} */ chosen) => {
    types = types.filter((other) => other !== chosen);
    showChips();
    type.focus();
    tell();
  };
  const add = () => {
    const chosen = type.value;
    type.value = "";
    if (!chosen || types.includes(chosen) || types.length >= TYPES_MAX) return;
    types = [...types, chosen];
    showChips();
    tell();
  };
  showChips();

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const typing = () => {
    clearTimeout(timer);
    timer = setTimeout(() => tell(true), TYPING_MS);
  };
  for (const field of [prefix, id, code, where, source]) field.addEventListener("input", typing);
  for (const field of [status, cause, since, until]) field.addEventListener("change", () => tell());
  type.addEventListener("change", add);
  for (const field of [type, source]) field.addEventListener("focus", () => void suggest(suggestions, sources), { once: true });

  const clear = () => {
    types = [];
    for (const field of [prefix, type, id, code, where, source, since, until]) field.value = "";
    status.value = "";
    cause.value = "";
    showChips();
    tell();
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    clearTimeout(timer);
    add();
    tell();
  };
  const label = (/** @type {string} */ text, /** @type {import("./dom.js").Child[]} */ ...field) => h("label", {}, h("span", {}, text), ...field);
  const hidden = ["id", "address", "source", "since", "until"].some((field) => value(field));
  return h(
    "form",
    { class: "filters", role: "search", on: { submit } },
    label("Id begins with", prefix),
    h("div", { class: "field" }, label("Type", type), chips),
    label("Status", status),
    label("Cause", cause),
    label("Close code", code),
    h(
      "details",
      { class: "more", open: hidden },
      h("summary", {}, times ? "Id, address, source, period" : "Id, address, source"),
      h(
        "div",
        { class: "more-body" },
        label("Id is exactly", id),
        label("From address or block", where),
        label("Source", source),
        times && label(`Changed since (${currentZone()})`, since),
        times && label("Changed before", until),
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
async function suggest(ofTypes, ofSources) {
  try {
    /** @type {import("./types").Summary} */
    const { types, sources } = await get("/api/v1/summary");
    fill(ofTypes, types.map(({ type }) => h("option", { value: type })));
    fill(ofSources, sources.map(({ source }) => h("option", { value: source })));
  } catch {
    // Suggestions are a help; a name can be typed.
  }
}

/** The offset of the chosen zone at a time, in milliseconds. @param {number} time */
function offset(time) {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: currentZone(),
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(time);
  const part = (/** @type {string} */ kind) => Number(parts.find(({ type }) => type === kind)?.value);
  const wall = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return wall - Math.floor(time / 1000) * 1000;
}

/** What the clock on the wall shows in the chosen zone. @param {string} text RFC 3339 */
function wallTime(text) {
  const time = Date.parse(text);
  return Number.isNaN(time) ? "" : new Date(time + offset(time)).toISOString().slice(0, 19);
}

/** The reverse: RFC 3339 for a time on the wall. @param {string} text */
function instant(text) {
  if (!text) return "";
  const wall = Date.parse(`${text}Z`);
  if (Number.isNaN(wall)) return "";
  // The offset is that of the result, which is known only by it: the second look settles it, but in the skipped hour.
  const guess = wall - offset(wall);
  return new Date(wall - offset(guess)).toISOString().replace(".000Z", "Z");
}

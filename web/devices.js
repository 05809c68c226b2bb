// The list of devices: filters, order, pages, and rows that follow the changes.

import { ApiError, get, lookup } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { EXPECTATIONS, clock, count, shortCause } from "./format.js";
import { filterOf, matches, streamQuery } from "./filter.js";
import { filters, following } from "./filters.js";
import { badge, curl, deviceName, failure, when } from "./parts.js";
import { address, go } from "./router.js";
import { subscribe } from "./stream.js";

const LIMIT = "100";
const LIMITS = ["50", "100", "250", "500"];
/** How long a row that has changed is marked. */
const MARK_MS = 2_500;

/** The page before a page, by cursor: the API goes forward only. @type {Map<string, string>} */
const before = new Map();
/** Pages whose way back is remembered. */
const BEFORE_MAX = 1_000;

/** @param {import("./types").Device} device */
const keyOf = ({ type, id }) => `${type}/${id}`;

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} route
 * @param {AbortSignal} signal
 * @returns {(route: import("./types").Route) => void} shows other filters without building the form anew
 */
export function devices(root, route, signal) {
  let query = route.query;
  const table = h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Devices" });
  const state = h("p", { class: "muted list-state", role: "status" });
  const pager = h("nav", { class: "pager", "aria-label": "Pages" });
  const commands = h("div", {});
  const csv = h("button", { type: "button", class: "quiet" }, "CSV of this page");
  const again = h("button", { type: "button", class: "quiet" }, "Refresh");
  const size = h("select", {}, LIMITS.map((limit) => h("option", { value: limit, selected: (query.get("limit") ?? LIMIT) === limit }, limit)));
  const change = (/** @type {URLSearchParams} */ next, /** @type {boolean} */ typing) => {
    for (const kept of ["sort", "limit"]) {
      const value = query.get(kept);
      if (value) next.set(kept, value);
    }
    go(address("devices", next), { replace: typing });
  };
  const form = following(query, (of, tell) => filters({ query: of, times: true, change: tell }), change);
  fill(
    root,
    h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Devices"), state),
    form.element,
    table,
    h("div", { class: "list-foot" }, pager, h("div", { class: "list-actions" }, h("label", { class: "inline" }, "Rows ", size), again, csv)),
    commands,
  );
  size.addEventListener("change", () => {
    const next = new URLSearchParams(query);
    next.delete("cursor");
    next.set("limit", size.value);
    go(address("devices", next));
  });

  /** @type {DeviceTable | null} */
  let shown = null;
  csv.addEventListener("click", () => shown && download(shown.devices()));
  again.addEventListener("click", () => void load());

  let loads = 0;
  const load = async () => {
    const number = ++loads;
    const asked = new URLSearchParams(query);
    if (!asked.has("limit")) asked.set("limit", LIMIT);
    const path = `/api/v1/devices?${asked}`;
    const [feed, all] = [streamQuery(query), everything(query).toString()];
    fill(commands, curl([
      { path },
      { path: `/api/v1/devices${all && "?"}${all}`, options: "-H 'Accept: text/csv'" },
      { path: `/api/v1/events${feed && "?"}${feed}`, options: "-N" },
    ]));
    table.setAttribute("aria-busy", "true");
    try {
      /** @type {import("./types").DevicePage} */
      const page = await get(path, signal);
      if (number !== loads) return;
      shown = new DeviceTable(page.devices, query);
      fill(table, page.devices.length > 0 ? shown.element : empty(query));
      patch(state, page.devices.length > 0 && `${count(page.devices.length)} shown, as of ${clock(Date.now())}. Rows follow the changes; their order does not.`);
      turn(pager, query, page.next_cursor);
      follow();
    } catch (error) {
      if (signal.aborted || number !== loads) return;
      shown = null;
      fill(table, failure(error, "The list"));
      if (error instanceof ApiError && error.status === 400 && query.has("cursor")) table.append(h("p", {}, firstPage(query)));
      fill(state);
      fill(pager);
      subscribe({}, { refresh: () => void load() }, signal);
    } finally {
      if (number === loads) table.removeAttribute("aria-busy");
    }
  };
  const follow = () => {
    const current = shown;
    if (!current) return;
    const refresh = async () => {
      const names = current.devices();
      if (names.length === 0) return void load();
      try {
        for (const device of await lookup(names, signal)) current.show(device, false);
        patch(state, `${count(names.length)} shown, refreshed at ${clock(Date.now())}. Rows follow the changes; their order does not.`);
      } catch {
        // The line about the connection says that the data may be old.
      }
    };
    subscribe(
      { devices: current.devices().map(keyOf) },
      {
        changes: (changes, forgotten) => {
          for (const device of changes) current.show(device, true);
          for (const device of forgotten) current.forget(`${device.type}/${device.id}`);
        },
        refresh: () => void refresh(),
      },
      signal,
    );
  };
  void load();
  return (next) => {
    query = next.query;
    form.follow(query);
    void load();
  };
}

/** The filters without page and order, for the whole list. @param {URLSearchParams} query */
function everything(query) {
  const all = new URLSearchParams(query);
  for (const part of ["cursor", "limit"]) all.delete(part);
  return all;
}

/** @param {URLSearchParams} query */
function firstPage(query) {
  const first = new URLSearchParams(query);
  first.delete("cursor");
  return h("a", { class: "button", href: address("devices", first) }, "First page");
}

/** @param {URLSearchParams} query */
function empty(query) {
  const filtered = [...query.keys()].some((key) => !["sort", "limit"].includes(key));
  return h(
    "p",
    { class: "empty" },
    h("strong", {}, filtered ? "No device matches." : "No devices yet."),
    filtered ? " Change or clear the filters." : " Devices appear as the broker tells of them.",
  );
}

/**
 * @param {HTMLElement} pager
 * @param {URLSearchParams} query
 * @param {string | null} next
 */
function turn(pager, query, next) {
  const cursor = query.get("cursor") ?? "";
  if (next) before.set(next, cursor);
  if (before.size > BEFORE_MAX) before.delete(before.keys().next().value ?? "");
  const to = (/** @type {string} */ at) => {
    const other = new URLSearchParams(query);
    other.delete("cursor");
    if (at) other.set("cursor", at);
    return address("devices", other);
  };
  const previous = before.get(cursor);
  const link = (/** @type {string} */ text, /** @type {string | null} */ href) =>
    href === null ? h("span", { class: "button off", "aria-disabled": "true" }, text) : h("a", { class: "button", href }, text);
  fill(
    pager,
    link("First", cursor ? to("") : null),
    link("Previous", cursor && previous !== undefined ? to(previous) : null),
    link("Next", next ? to(next) : null),
  );
}

/**
 * @param {URLSearchParams} query
 * @param {string} key
 */
function orderOf(query, key) {
  const sort = query.get("sort") ?? "id";
  return sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none";
}

/**
 * @param {URLSearchParams} query
 * @param {string} text
 * @param {string} key
 */
function sortLink(query, text, key) {
  const order = orderOf(query, key);
  const next = new URLSearchParams(query);
  next.delete("cursor");
  next.set("sort", order === "ascending" ? `-${key}` : key);
  const arrow = { ascending: "↑", descending: "↓", none: "↕" }[order];
  return h("a", { class: "sort", href: address("devices", next) }, text, h("span", { "aria-hidden": "true" }, ` ${arrow}`));
}

/** The rows of a page; each is changed in place, none is moved. */
class DeviceTable {
  /**
   * @param {import("./types").Device[]} devices
   * @param {URLSearchParams} query
   */
  constructor(devices, query) {
    this.filter = filterOf(query);
    /** @type {Map<string, {device: import("./types").Device, row: HTMLTableRowElement, timer: any}>} */
    this.rows = new Map();
    for (const device of devices) {
      const row = h("tr", {}, this.#cells(device));
      this.rows.set(keyOf(device), { device, row, timer: 0 });
    }
    const heading = (/** @type {string} */ text, css = "", /** @type {import("./dom.js").Child} */ more = null) =>
      h("th", { scope: "col", class: css }, text, more);
    const sorting = (/** @type {string} */ text, /** @type {string} */ key) =>
      h("th", { scope: "col", "aria-sort": orderOf(query, key) }, sortLink(query, text, key));
    // Where the screen is too narrow for a column of its own, the time stands below the status, and so does its order.
    const narrowSince = h("span", { class: "narrow" }, sortLink(query, "Since", "since"));
    this.element = h(
      "table",
      { class: "devices" },
      h("caption", { class: "unseen" }, "Devices that match the filters"),
      h(
        "thead",
        {},
        h("tr", {}, sorting("Device", "id"), heading("Status", "", narrowSince), sorting("Since", "since"), heading("Why", "wide"), heading("Address", "wide")),
      ),
      h("tbody", {}, [...this.rows.values()].map(({ row }) => row)),
    );
  }

  devices() {
    return [...this.rows.values()].map(({ device }) => device);
  }

  /** @param {import("./types").Device} device */
  #cells(device) {
    const why = shortCause(device.close_code, device.cause);
    return [
      h("th", { scope: "row" }, deviceName(device)),
      h(
        "td",
        {},
        badge(device.status),
        !matches(this.filter, device) && h("div", { class: "muted" }, "no longer matches"),
        device.stale && h("div", { class: "muted" }, "may be old"),
        expected(device),
        why && h("div", { class: "muted narrow" }, why),
        h("div", { class: "narrow" }, when(device.since)),
      ),
      h("td", {}, when(device.since)),
      h("td", { class: "wide" }, why ? h("span", { title: device.reason ?? null }, why) : h("span", { class: "muted" }, "–")),
      h("td", { class: "wide address" }, device.address ?? h("span", { class: "muted" }, "–")),
    ];
  }

  /**
   * @param {import("./types").Device} device
   * @param {boolean} mark
   */
  show(device, mark) {
    const known = this.rows.get(keyOf(device));
    if (!known) return;
    const isNew = known.device.since !== device.since || known.device.status !== device.status;
    known.device = device;
    patch(known.row, this.#cells(device));
    known.row.classList.toggle("left", !matches(this.filter, device));
    if (!mark || !isNew) return;
    clearTimeout(known.timer);
    known.row.classList.add("changed");
    known.timer = setTimeout(() => known.row.classList.remove("changed"), MARK_MS);
  }

  /** @param {string} key */
  forget(key) {
    const known = this.rows.get(key);
    if (!known) return;
    this.show({ ...known.device, status: "never_connected", since: null, close_code: null, cause: null, reason: null }, true);
  }
}

/** What its contact policy says, where that is not plain from the status. @param {import("./types").Device} device */
function expected({ status, expectation }) {
  if (!expectation || (status === "connected" && expectation === "met")) return null;
  return h("div", { class: expectation === "overdue" ? "overdue" : "muted" }, EXPECTATIONS[expectation] ?? expectation);
}

const COLUMNS = ["type", "id", "status", "since", "close_code", "cause", "reason", "address", "client_id", "expectation"];

/** A spreadsheet would take it for a formula. @param {string} cell */
const harmless = (cell) => (/^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell);

/** @param {import("./types").Device[]} devices */
function download(devices) {
  const line = (/** @type {unknown[]} */ cells) =>
    cells.map((cell) => harmless(String(cell ?? ""))).map((cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");
  const rows = devices.map((device) => line(COLUMNS.map((column) => device[/** @type {keyof typeof device} */ (column)])));
  const url = URL.createObjectURL(new Blob([[line(COLUMNS), ...rows, ""].join("\r\n")], { type: "text/csv" }));
  h("a", { href: url, download: "devices.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

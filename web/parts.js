// What several views show: statuses, names, times, notices, the curl that gives the same data.

import { deviceLink } from "./api.js";
import { h, s, setText } from "./dom.js";
import { absolute, exact, relative, statusWord } from "./format.js";

/** Shapes differ as the colours do, for those who cannot tell the colours apart. @param {string} status */
export function shape(status) {
  const shapes = {
    connected: () => s("circle", { cx: 6, cy: 6, r: 4.5, fill: "currentColor" }),
    disconnected: () => s("path", { d: "M6 1.2 10.8 6 6 10.8 1.2 6z", fill: "none", stroke: "currentColor", "stroke-width": 2 }),
    never_connected: () => s("path", { d: "M2 6h8", stroke: "currentColor", "stroke-width": 2 }),
  };
  const draw = shapes[/** @type {keyof typeof shapes} */ (status)];
  const unknown = () =>
    s("circle", { cx: 6, cy: 6, r: 4, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "2 2" });
  return s("svg", { class: "shape", viewBox: "0 0 12 12", "aria-hidden": "true" }, (draw ?? unknown)());
}

/** Status by shape, word and colour. @param {string} status @param {string} [word] */
export function badge(status, word = statusWord(status)) {
  return h("span", { class: `status ${status}` }, shape(status), h("span", {}, word));
}

/** Characters that draw nothing, or turn the direction of what stands around them. */
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * A name that a device or its owner chose: isolated, so that its direction stays its own, and what would be invisible is
 * spelled out.
 * @param {string} text
 */
export function name(text) {
  const shown = text.replace(INVISIBLE, (character) => `⟨U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  return h("bdi", { class: "name", title: shown.length > 40 ? shown : null }, shown);
}

/** A device as a link, its type below. @param {{type: string, id: string}} device */
export function deviceName({ type, id }) {
  return h("div", { class: "device" }, h("a", { href: deviceLink(type, id) }, name(id)), h("span", { class: "muted" }, name(type)));
}

/**
 * A time: how long ago, and beside it when.
 * @param {string | number | null} time
 * @param {{absent?: string}} [options]
 */
export function when(time, { absent = "–" } = {}) {
  const at = typeof time === "number" ? time : Date.parse(time ?? "");
  if (Number.isNaN(at)) return h("span", { class: "muted" }, absent);
  const now = Date.now();
  return h(
    "time",
    { datetime: new Date(at).toISOString(), title: exact(at), dataset: { at } },
    h("span", { class: "ago" }, relative(at, now)),
    " ",
    h("span", { class: "muted" }, absolute(at, now)),
  );
}

/** Keeps "3 min ago" true, everywhere on the page. */
export function followTime() {
  setInterval(() => {
    if (document.hidden) return;
    const now = Date.now();
    for (const time of document.querySelectorAll("time[data-at]")) {
      const ago = time.querySelector(".ago");
      if (ago) setText(ago, relative(Number(/** @type {HTMLElement} */ (time).dataset.at), now));
    }
  }, 1000);
}

/**
 * @param {"info" | "warning"} kind
 * @param {...import("./dom.js").Child} children
 */
export function notice(kind, ...children) {
  const mark = kind === "warning" ? shape("disconnected") : null;
  return h("div", { class: `notice ${kind}`, role: kind === "warning" ? "alert" : null }, mark, h("div", {}, ...children));
}

/**
 * Why something cannot be shown, in the service's own words.
 * @param {unknown} error
 * @param {string} what
 */
export function failure(error, what) {
  const status = /** @type {any} */ (error)?.status;
  if (status === 403) return notice("warning", h("strong", {}, "The key lacks a scope. "), "This page needs the scopes read and events.");
  const message = error instanceof Error ? error.message : String(error);
  return notice("warning", h("strong", {}, `${what} cannot be shown. `), message);
}

/** Quoted for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * A button that copies a text which the page shows.
 * @param {HTMLElement} shown
 */
export function copyButton(shown) {
  const copied = h("span", { class: "muted", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      copied.textContent = "Copied";
    } catch {
      // No clipboard without HTTPS: selected, so that one key press copies.
      getSelection()?.selectAllChildren(shown);
      copied.textContent = "Selected: copy with Ctrl+C";
    }
  };
  return [h("button", { type: "button", class: "quiet", on: { click: copy } }, "Copy"), copied];
}

/**
 * The commands that give what a view shows.
 * @param {{path: string, options?: string}[]} requests
 * @param {string} [label] for screen readers
 */
export function curl(requests, label = "The same data by curl") {
  const lines = requests.map(({ path, options }) => `curl ${options ? `${options} ` : ""}${quoted(location.origin + path)}`);
  const code = h("code", {}, lines.join("\n"));
  return h(
    "section",
    { class: "curl", "aria-label": label },
    h("div", { class: "curl-head" }, h("h2", {}, "The same by curl"), copyButton(code)),
    h("pre", { tabindex: 0 }, code),
  );
}

/**
 * A share as a bar; the numbers stand beside it, so it is hidden from screen readers.
 * @param {number} connected
 * @param {number} total
 */
export function shareBar(connected, total) {
  const width = total === 0 ? 0 : (1000 * connected) / total;
  const gap = connected > 0 && connected < total ? 4 : 0;
  return s(
    "svg",
    { class: "share", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "fill-none", width: 1000, height: 10 }),
    total > 0 && s("rect", { class: "fill-connected", width: Math.max(0, width - gap / 2), height: 10 }),
    total > 0 && s("rect", { class: "fill-disconnected", x: width + gap / 2, width: Math.max(0, 1000 - width - gap / 2), height: 10 }),
  );
}

/**
 * A part of a whole as a bar.
 * @param {number} part
 * @param {number} whole
 */
export function partBar(part, whole) {
  const width = whole === 0 ? 0 : Math.max(4, (1000 * part) / whole);
  return s(
    "svg",
    { class: "share", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "fill-none", width: 1000, height: 10 }),
    s("rect", { class: "fill-disconnected", width, height: 10 }),
  );
}

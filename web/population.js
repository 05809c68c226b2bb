// What has been read of the broker, and why that is believed to be all.

import { get, poll } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { count, counted } from "./format.js";
import { curl, failure, name, shape } from "./parts.js";
import { address } from "./router.js";
import { subscribe } from "./stream.js";

const INTERVAL_MS = 5_000;
/** Rows that are drawn; a fleet can have thousands of types. */
const TYPES_SHOWN = 200;

/** @type {Record<string, string>} */
const STATES = {
  pending: "The broker has not been asked yet.",
  running: "The retained statuses are being read. Devices not seen so far are not known yet.",
  complete: "Every retained status has been read, and that is proven.",
  unproven: "Every retained status seems to have been read: a further pass added nothing. The broker gives no proof.",
  incomplete: "Something is known to be missing. It is tried again.",
};

/** @type {Record<string, string>} */
const EVIDENCE = {
  count_matches: "the broker counts as many retained messages as arrived",
  nothing_dropped: "the broker's count of dropped messages did not move",
  below_limits: "fewer messages than any number at which a broker is known to drop",
  listed_devices: "each listed device was replayed or asked for",
  known_devices: "each known device was replayed or asked for; one that nobody has seen may be missing",
  repeated: "a further pass added nothing",
  nothing_replayed: "the broker was not seen to replay anything to wildcards: a device is known once it has sent something",
  none: "not read to an end yet",
  missing: "something is known to be missing",
  other_instance: "another instance has read it",
};

/**
 * @param {HTMLElement} root
 * @param {import("./types").Route} _route
 * @param {AbortSignal} signal
 */
export function population(root, _route, signal) {
  const state = h("section", { class: "card", "aria-label": "State" });
  const types = h("section", { class: "card", "aria-label": "By type" });
  fill(root, h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Population")), state, types, curl([{ path: "/api/v1/population" }]));
  fill(state, h("p", { class: "loading" }, "Loading…"));
  const load = async () => {
    try {
      /** @type {import("./types").Population} */
      const answer = await get("/api/v1/population", signal);
      patch(state, ...stateOf(answer));
      patch(types, ...typesOf(answer));
    } catch (error) {
      if (!signal.aborted) patch(state, failure(error, "The population"));
    }
  };
  subscribe({}, {}, signal);
  poll(load, INTERVAL_MS, signal);
}

/** @param {import("./types").Population} population */
function stateOf({ state, evidence, ready_on, repairing, progress, limits }) {
  const replays = evidence !== "nothing_replayed";
  const isGood = replays && (state === "complete" || state === "unproven");
  const row = (/** @type {string} */ term, /** @type {import("./dom.js").Child} */ value) => [h("dt", {}, term), h("dd", {}, value)];
  const types = progress.types_total > 0 ? `${count(progress.types_done)} of ${counted(progress.types_total, "type")}, ` : "";
  return [
    h("p", { class: `lead ${isGood ? "connected" : "disconnected"}` }, shape(isGood ? "connected" : "disconnected"), h("span", {}, state.charAt(0).toUpperCase() + state.slice(1))),
    h("p", {}, replays ? (STATES[state] ?? "") : "The broker has sent no retained status, and it is not known whether it ever would."),
    h(
      "dl",
      {},
      row("Evidence", evidence ? `${evidence}: ${EVIDENCE[evidence] ?? ""}` : "no round has finished yet"),
      row("This round", `${types}${counted(progress.replayed, "device")} replayed`),
      row("Background", repairing ? "a further round is going on" : "nothing is going on"),
      row("Ready from", ready_on),
      row("Known limits", limits.length > 0 ? `brokers are known to stop after ${limits.map(count).join(", ")} retained messages` : "none"),
    ),
  ];
}

/** @param {import("./types").Population} population */
function typesOf({ types, types_total }) {
  const heading = h("h2", {}, "By type ", h("small", {}, "as the latest finished round has found them"));
  if (types.length === 0) return [heading, h("p", { class: "muted" }, "No device type is known yet.")];
  // What is not proven is what an operator looks for.
  const sorted = [...types].sort((a, b) => Number(a.proven) - Number(b.proven) || (a.type < b.type ? -1 : 1));
  const shown = sorted.slice(0, TYPES_SHOWN);
  const row = (/** @type {import("./types").Population["types"][number]} */ { type, known, replayed, evidence, proven }) =>
    h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("a", { href: address("devices", new URLSearchParams({ type })) }, name(type)),
        h("div", { class: "muted narrow" }, `${count(known)} known, ${count(replayed)} replayed`),
      ),
      h("td", { class: "wide number" }, count(known)),
      h("td", { class: "wide number" }, count(replayed)),
      h("td", {}, h("span", { class: `status ${proven ? "connected" : "disconnected"}` }, shape(proven ? "connected" : "disconnected"), h("span", {}, proven ? "Proven" : "Not proven"))),
      h("td", { class: "wide" }, evidence ? (EVIDENCE[evidence] ?? evidence) : "–"),
    );
  return [
    heading,
    h(
      "div",
      { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Types" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Type"),
            h("th", { scope: "col", class: "wide number" }, "Known"),
            h("th", { scope: "col", class: "wide number" }, "Replayed"),
            h("th", { scope: "col" }, "Proof"),
            h("th", { scope: "col", class: "wide" }, "Evidence"),
          ),
        ),
        h("tbody", {}, shown.map(row)),
      ),
    ),
    types_total > shown.length && h("p", { class: "muted" }, `${count(shown.length)} of ${count(types_total)} types, those without proof first.`),
  ];
}

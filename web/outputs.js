// Where alerts are sent to, and whether they arrive there.

import { get, poll } from "./api.js";
import { h, patch } from "./dom.js";
import { failure } from "./parts.js";
import { endpointsTable } from "./webhooks.js";

const INTERVAL_MS = 10_000;

/** @param {AbortSignal} signal */
export function outputs(signal) {
  const body = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const load = async () => {
    try {
      /** @type {{webhooks: import("./types").Webhook[]}} */
      const { webhooks } = await get("/api/v1/webhooks", signal);
      patch(body, webhooks.length > 0 ? endpointsTable(webhooks) : h("p", { class: "muted" }, "No webhook is set up, so alerts are seen here alone."));
    } catch (error) {
      if (!signal.aborted) patch(body, failure(error, "The outputs"));
    }
  };
  return {
    element: h("section", { class: "card" }, h("h2", {}, "Outputs ", h("small", {}, "where alerts are sent to")), body),
    /** @param {boolean} allowed */
    setRights: (allowed) => {
      if (allowed) poll(load, INTERVAL_MS, signal);
      else patch(body, h("p", { class: "muted" }, "Endpoints are shown to keys with the scope admin. One that accepts nothing is an alert of its own, output_failing."));
    },
  };
}

// One endpoint of webhooks: its deliveries, what it has rejected, and the orders that an administrator can give.

import { orderButton, orders, outcome } from "./actions.js";
import { get, poll, segment, send } from "./api.js";
import { fill, h, patch } from "./dom.js";
import { absolute, count, currentZone, duration } from "./format.js";
import { following, labelled } from "./filters.js";
import { copyButton, curl, deviceName, failure, name, when } from "./parts.js";
import { address, go } from "./router.js";
import { options } from "./values.js";
import { cameOf, stateBadge } from "./webhooks.js";
import { instant } from "./zone-time.js";

const INTERVAL_MS = 3_000;
/** Deliveries are up to a megabyte: they are read again only after another attempt, and so often at most. */
const DELIVERIES_INTERVAL_MS = 9_000;
/** Attempts that are drawn; the API names up to 1,000. */
const ATTEMPTS_SHOWN = 100;
/** Dead letters that are drawn; the API names up to 1,000. */
const DEAD_LETTERS_SHOWN = 200;
/** What each state means, and what to do. @type {Record<string, string>} */
const MEANING = {
  starting: "It waits for the store.",
  delivering: "No message waits to be tried again.",
  failing: "The last attempt has failed. It is made again, after 1 s and then ever later, at most 5 minutes; nothing is lost meanwhile.",
  gone: "It has answered 410, so nothing is sent until it is enabled or its url changes. It continues where it was.",
  given_up: "Every attempt has failed for five days, so nothing is sent until it is enabled or its url changes. It continues where it was.",
  elsewhere: "Another instance delivers, or the store is away. Ask that instance for attempts and failures.",
  broken: "Its certificates cannot be used; the log says why.",
};
/** How long the secret before counts, too. @type {Record<string, string>} */
const OVERLAPS = { "24h": "24 hours", "7d": "7 days", "1h": "1 hour", "0s": "not at all" };
const OUTCOMES = ["accepted", "failed"];

/**
 * @param {HTMLElement} root
 * @param {string} of
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
export function endpoint(root, of, query, signal) {
  const path = `/api/v1/webhooks/${segment(of)}`;
  const facts = h("section", { class: "card", "aria-label": "State" }, h("p", { class: "loading" }, "Loading…"));
  const attempts = h("div", {});
  const letters = h("section", { class: "card" });
  const line = outcome();
  const secret = h("div", {});
  const since = h("input", { type: "datetime-local", step: 1, required: true });
  const overlap = h("select", {}, Object.entries(OVERLAPS).map(([value, text]) => h("option", { value }, text)));
  const form = following(query, outcomeFilter, (next) => go(address(`webhooks/${segment(of)}`, next)));
  /** @type {import("./types").WebhookDeliveries | null} */
  let deliveries = null;
  let [readAt, read] = [0, ""];
  const draw = () => {
    if (!deliveries) return;
    patch(attempts, ...attemptsOf(deliveries.attempts, query.get("outcome") ?? ""));
    patch(letters, ...lettersOf(deliveries.dead_letters));
  };
  const load = async (anew = true) => {
    try {
      /** @type {{webhooks: import("./types").Webhook[]}} */
      const { webhooks } = await get("/api/v1/webhooks", signal);
      const found = webhooks.find(({ name }) => name === of);
      if (found) patch(facts, ...factsOf(found));
      const newest = JSON.stringify([found?.last_attempt, found?.dead_letters_total]);
      if (!anew && (newest === read || Date.now() - readAt < DELIVERIES_INTERVAL_MS)) return;
      deliveries = await get(`${path}/deliveries`, signal);
      [readAt, read] = [Date.now(), newest];
      draw();
    } catch (error) {
      if (!signal.aborted) patch(facts, failure(error, "The endpoint"));
    }
  };
  const actions = h(
    "section",
    { class: "card" },
    h("h2", {}, "Actions"),
    h(
      "div",
      { class: "filters" },
      orderButton("test", "Send a test"),
      orderButton("enable", "Enable, try now"),
      h("span", { class: "field" }, labelled(`Changes since (${currentZone()})`, since), orderButton("redeliver", "Send once more")),
      h("span", { class: "field" }, labelled("The secret before counts for", overlap), orderButton("rotate", "Make a new secret")),
    ),
    line.element,
    secret,
  );
  fill(
    root,
    h("p", { class: "crumbs" }, h("a", { href: "#/webhooks" }, "Webhooks")),
    h("h1", { tabindex: -1 }, name(of)),
    facts,
    actions,
    h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, "Deliveries ", h("small", {}, "the newest 1,000 attempts since the service began")), form.element), attempts),
    letters,
    curl([{ path: `${path}/deliveries` }, { path: "/api/v1/webhooks" }, { path: `${path}/test`, options: "-X POST" }]),
  );
  orders(root, line, ordersOf({ path, line, since, overlap, secret, load }));
  poll(() => load(read === ""), INTERVAL_MS, signal);
  return (/** @type {URLSearchParams} */ next) => {
    query = next;
    form.follow(query);
    draw();
  };
}

/**
 * @param {object} parts
 * @param {string} parts.path
 * @param {ReturnType<typeof outcome>} parts.line
 * @param {HTMLInputElement} parts.since
 * @param {HTMLSelectElement} parts.overlap
 * @param {HTMLElement} parts.secret
 * @param {() => Promise<void>} parts.load
 * @returns {Parameters<typeof orders>[2]}
 */
function ordersOf({ path, line, since, overlap, secret, load }) {
  /** @param {string} order @param {string} done @param {string} failed */
  const carryOut = async (order, done, failed) => {
    /** @type {import("./types").WebhookOutcome | null} */
    const came = await send("POST", `${path}/${order}`);
    if (came?.done) line.done(done);
    else line.failed(failed, came?.failure ?? "");
    await load();
  };
  const notAccepted = "It has not accepted the message.";
  return {
    test: { failed: "The test is not sent.", run: () => carryOut("test", "The endpoint has accepted the test.", notAccepted) },
    enable: { failed: "It is not enabled.", run: () => carryOut("enable", "It is enabled, and tried at once.", "It is not enabled.") },
    redeliver: {
      failed: "Nothing is sent once more.",
      run: async () => {
        const from = instant(since.value);
        if (!from) return void since.reportValidity();
        await carryOut(`redeliver?${new URLSearchParams({ since: from })}`, `Every change since ${absolute(Date.parse(from))} is sent once more, in order and with the ids that they had.`, notAccepted);
      },
    },
    again: { failed: "It is not sent once more.", run: ({ id = "" }) => carryOut(`redeliver?${new URLSearchParams({ id })}`, "The endpoint has accepted the message.", notAccepted) },
    rotate: {
      failed: "No secret is made.",
      run: async () => {
        /** @type {import("./types").WebhookSecret | null} */
        const made = await send("POST", `${path}/secret?${new URLSearchParams({ overlap: overlap.value })}`);
        if (made) showSecret(secret, made);
        await load();
      },
    },
  };
}

/**
 * Shows a secret, once: it is kept nowhere on the page.
 * @param {HTMLElement} place
 * @param {import("./types").WebhookSecret} made
 */
function showSecret(place, { secret, previous_secret_until }) {
  const shown = h("code", { class: "secret" }, secret);
  const both = previous_secret_until ? ` Until ${absolute(Date.parse(previous_secret_until))} messages are signed with the one before, too.` : " The one before counts no longer.";
  const hide = h("button", { type: "button", class: "quiet", on: { click: () => fill(place) } }, "Hide it");
  fill(place, h("div", { class: "notice info made", role: "group", "aria-label": "The new secret" }, h("div", {}, h("p", {}, h("strong", {}, "The new secret, shown this once."), ` Give it to the receiver.${both}`), h("p", {}, shown), h("p", { class: "list-actions" }, copyButton(shown), hide))));
}

/** @param {import("./types").Webhook} webhook */
function factsOf({ address: where, mode, settle_seconds, state, failing_since, previous_secret_until, position, dead_letters_total, last_attempt }) {
  const row = (/** @type {string} */ term, /** @type {import("./dom.js").Child} */ value) => [h("dt", {}, term), h("dd", {}, value || "–")];
  return [
    h("p", { class: "lead" }, stateBadge(state)),
    h("p", { class: "muted" }, MEANING[state] ?? ""),
    h(
      "dl",
      {},
      row("Address", name(where)),
      row("Failing since", when(failing_since)),
      row("Last attempt", last_attempt && [cameOf(last_attempt), " ", when(last_attempt.at)]),
      row("Mode", mode === "latest" ? "latest: each device's newest state" : `${mode}: every change`),
      row("Settle", settle_seconds > 0 ? `a disconnect is sent once it has lasted ${duration(settle_seconds * 1000)}` : "at once"),
      row("Position", position && h("span", { class: "address" }, name(position))),
      row("Dead letters", count(dead_letters_total)),
      previous_secret_until && row("Two secrets", `until ${absolute(Date.parse(previous_secret_until))}`),
    ),
  ];
}

/** Why an attempt has failed, if its status does not say it already, and what was answered. @param {import("./types").WebhookAttempt} attempt */
const why = ({ failure, status, answer }) => [
  failure !== null && failure !== `it answers ${status}` && h("div", { class: "muted" }, name(failure)),
  answer && h("div", { class: "address" }, name(answer)),
];

/**
 * @param {import("./types").WebhookAttempt[]} all
 * @param {string} wanted
 */
function attemptsOf(all, wanted) {
  const matching = all.filter(({ failure }) => wanted === "" || (failure === null) === (wanted === "accepted"));
  if (matching.length === 0) return [h("p", { class: "muted" }, all.length > 0 ? "No attempt matches." : "Nothing has been sent to it since the service began.")];
  const shown = matching.slice(0, ATTEMPTS_SHOWN);
  const row = (/** @type {import("./types").WebhookAttempt} */ attempt) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, when(attempt.at)),
      h("td", {}, cameOf(attempt), why(attempt), h("div", { class: "narrow muted" }, `${attempt.type}, ${count(attempt.duration_ms)} ms`)),
      h("td", { class: "wide" }, attempt.type),
      h("td", { class: "wide number" }, `${count(attempt.duration_ms)} ms`),
      h("td", { class: "wide address" }, name(attempt.id)),
    );
  const table = h(
    "div",
    { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Deliveries" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h("tr", {}, h("th", { scope: "col", "aria-sort": "descending" }, "Time"), h("th", { scope: "col" }, "Outcome"), h("th", { scope: "col", class: "wide" }, "Type"), h("th", { scope: "col", class: "wide number" }, "Took"), h("th", { scope: "col", class: "wide" }, "Id")),
      ),
      h("tbody", {}, shown.map(row)),
    ),
  );
  return [table, matching.length > shown.length && h("p", { class: "muted" }, `The newest ${count(shown.length)} of ${count(matching.length)}.`)];
}

/** @param {import("./types").WebhookDeadLetter[]} all */
function lettersOf(all) {
  const heading = h("h2", {}, "Dead letters ", h("small", {}, "messages that it has rejected for good"));
  if (all.length === 0) return [heading, h("p", { class: "muted" }, "It has rejected nothing for good.")];
  const shown = all.slice(0, DEAD_LETTERS_SHOWN);
  const again = (/** @type {string} */ id) => orderButton("again", "Send again", { id }, `Send again ${id}`);
  const row = (/** @type {import("./types").WebhookDeadLetter} */ { id, type, device, at, failure: why }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, when(at), h("div", { class: "narrow muted" }, type)),
      h("td", {}, device ? deviceName(device) : h("span", { class: "muted" }, "no device"), h("div", { class: "narrow muted" }, name(why)), device && h("div", { class: "narrow" }, again(id))),
      h("td", { class: "wide" }, type),
      h("td", { class: "wide" }, name(why)),
      h("td", { class: "wide" }, device ? again(id) : h("span", { class: "muted" }, "cannot be sent again")),
    );
  return [
    heading,
    h(
      "div",
      { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Dead letters" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col", "aria-sort": "descending" }, "Given up"), h("th", { scope: "col" }, "Device"), h("th", { scope: "col", class: "wide" }, "Type"), h("th", { scope: "col", class: "wide" }, "Why"), h("th", { scope: "col", class: "wide" }, h("span", { class: "unseen" }, "Action")))),
        h("tbody", {}, shown.map(row)),
      ),
    ),
    all.length > shown.length && h("p", { class: "muted" }, `The newest ${count(shown.length)} of ${count(all.length)}.`),
  ];
}

/**
 * @param {URLSearchParams} query
 * @param {(query: URLSearchParams, typing: boolean) => void} change
 */
function outcomeFilter(query, change) {
  const field = h("select", { "aria-label": "Outcome" }, options(OUTCOMES, "all attempts"));
  field.value = query.get("outcome") ?? "";
  field.addEventListener("change", () => change(new URLSearchParams(field.value ? { outcome: field.value } : {}), false));
  return h("form", { class: "filters", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, field);
}

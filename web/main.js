// The frame around the views: which one is shown, the connection, the display settings.

import { alerts } from "./alerts.js";
import { LOCKED, logOut, poll, readiness, session } from "./api.js";
import { device } from "./device.js";
import { devices } from "./devices.js";
import { fill, h, patch } from "./dom.js";
import { absolute, browserZone, clock, count, currentZone, setZone } from "./format.js";
import { live } from "./live.js";
import { login } from "./login.js";
import { overview } from "./overview.js";
import { followTime, notice, shape } from "./parts.js";
import { population } from "./population.js";
import { currentRoute } from "./router.js";
import { startStream } from "./stream.js";
import { webhooks } from "./webhooks.js";

/** How often the service is asked whether its own data is fresh. */
const READY_INTERVAL_MS = 5_000;

/** @typedef {import("./types").Route} Route */
/** @type {Record<string, {title: string, show: (root: HTMLElement, route: Route, signal: AbortSignal) => void | ((route: Route) => void)}>} */
const VIEWS = {
  "": { title: "Overview", show: overview },
  devices: { title: "Devices", show: devices },
  device: { title: "Device", show: device },
  live: { title: "Live", show: live },
  alerts: { title: "Alerts", show: alerts },
  population: { title: "Population", show: population },
  webhooks: { title: "Webhooks", show: webhooks },
  login: { title: "Log in", show: showLogin },
};
const IN_NAVIGATION = ["", "devices", "live", "alerts", "population", "webhooks"];

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Whether the service has asked for a key. */
let locked = false;
let leave = new AbortController();
let shown = "";
/** Where a login leads back to. */
let beforeLogin = "#/";
/** @type {void | ((route: Route) => void)} */
let update;

/** @param {boolean} [anew] */
function show(anew = false) {
  const route = currentRoute();
  const view = VIEWS[route.view];
  if (route.view !== "login") beforeLogin = location.hash || "#/";
  const which = view ? [route.view, ...route.segments].join("/") : "?";
  for (const link of element("nav").querySelectorAll("a")) {
    const current = link.dataset.view === (route.view === "device" ? "devices" : route.view);
    if (current) {
      link.setAttribute("aria-current", "page");
      // On a phone the views do not fit beside each other.
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  if (locked) return;
  if (which === shown && update && !anew) return update(route);
  const isFirst = shown === "";
  shown = which;
  leave.abort();
  leave = new AbortController();
  const main = element("main");
  const title = route.view === "device" ? (route.segments[1] ?? "Device") : (view?.title ?? "No such view");
  document.title = `${title} · devstatus`;
  main.dataset.view = route.view;
  fill(main);
  update = undefined;
  if (view) update = view.show(main, route, leave.signal);
  else fill(main, h("h1", { tabindex: -1 }, "No such view"), h("p", {}, h("a", { href: "#/" }, "Overview")));
  if (isFirst || anew) return;
  // As after loading a page: the beginning is shown, and read out.
  scrollTo(0, 0);
  /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus({ preventScroll: true });
}

/** @type {Extract<import("./types").StreamMessage, {kind: "state"}>} */
let stream = { kind: "state", state: "connecting", since: Date.now(), detail: "" };
/** Since when the service itself says that its data may be old. @type {number | null} */
let staleSince = null;

/** Always visible: whether what is shown is true now. */
function showConnection() {
  const pill = (/** @type {string} */ kind, /** @type {string} */ status, /** @type {string} */ text, /** @type {string} */ short) =>
    h("span", { class: `pill ${kind}` }, shape(status), h("span", { class: "pill-long" }, text), h("span", { class: "pill-short" }, short));
  const pills = {
    live: () =>
      staleSince === null
        ? pill("good", "connected", "Live", "Live")
        : pill("bad", "disconnected", `Data may be old since ${clock(staleSince)}: broker away`, "Broker away"),
    connecting: () => pill("", "unknown", "Connecting…", "Connecting…"),
    reconnecting: () =>
      pill("bad", "disconnected", `Reconnecting… data may be old since ${clock(stream.since)}`, `Old since ${clock(stream.since)}`),
    locked: () => pill("bad", "disconnected", "An API key is needed", "Key needed"),
    unavailable: () => pill("", "unknown", "No live changes: totals are asked for again and again", "Not live"),
  };
  patch(element("connection"), pills[stream.state]());
  patch(element("notices"), stream.detail && notice("info", stream.detail));
}

async function watchReadiness() {
  try {
    const answer = await readiness();
    if (answer.readiness.stale) staleSince = staleSince ?? answer.staleSince ?? Date.now();
    else staleSince = null;
  } catch {
    // The stream is down as well, and says since when.
  }
  showConnection();
}

/** Beside the view that shows them. @param {number} firing */
function showFiring(firing) {
  const link = element("nav").querySelector("[data-view=alerts]");
  if (link) fill(link, "Alerts", firing > 0 && h("span", { class: "firing-count", title: `${count(firing)} announced, and not announced as resolved` }, count(firing), h("span", { class: "unseen" }, " announced")));
}

/** Puts the login in the place of the view. */
function lock() {
  if (locked) return;
  locked = true;
  update = undefined;
  leave.abort();
  document.title = "Log in · devstatus";
  login(element("main"), () => {
    locked = false;
    // The stream waits for a key; other tabs share it.
    dispatchEvent(new Event("online"));
    if (currentRoute().view === "login") location.hash = beforeLogin;
    else show(true);
    void showSession();
  });
}

/** For those who may look without a key, and want to change something. @param {HTMLElement} root */
function showLogin(root) {
  login(root, () => {
    void showSession();
    location.hash = beforeLogin;
  });
}

/** Who is logged in can log out. */
async function showSession() {
  const current = await session().catch(() => undefined);
  if (current === null) return lock();
  const leaveSession = async () => {
    await logOut();
    location.reload();
  };
  fill(
    element("session"),
    current?.expires_at &&
      h("p", {}, h("span", { class: "muted" }, `Logged in until ${absolute(Date.parse(current.expires_at))}`), h("button", { type: "button", on: { click: leaveSession } }, "Log out")),
  );
}

/** @param {string} label @param {HTMLSelectElement} select */
const setting = (label, select) => h("label", {}, h("span", {}, label), select);

function buildMenu() {
  const root = document.documentElement;
  const themes = [["", "As the system"], ["light", "Light"], ["dark", "Dark"]];
  const theme = h("select", {}, themes.map(([value, text]) => h("option", { value, selected: (root.dataset.theme ?? "") === value }, text)));
  theme.addEventListener("change", () => {
    if (theme.value) root.dataset.theme = theme.value;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("devstatus.theme", theme.value);
    } catch {
      // The choice lasts as long as the tab.
    }
  });
  const own = browserZone();
  const names = [...new Set([own, "UTC", currentZone(), ...Intl.supportedValuesOf("timeZone")])];
  const zone = h("select", {}, names.map((value) => h("option", { value, selected: value === currentZone() }, value)));
  zone.addEventListener("change", () => {
    setZone(zone.value);
    show(true);
    showConnection();
  });
  fill(element("menu-body"), setting("Theme", theme), setting("Times in", zone), h("p", {}, h("a", { href: "/openapi.json" }, "API"), " · ", h("a", { href: "/metrics" }, "Metrics")), h("div", { id: "session" }));
  const menu = /** @type {HTMLDetailsElement} */ (element("menu"));
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  addEventListener("click", (event) => {
    if (!menu.contains(/** @type {Node} */ (event.target))) menu.open = false;
  });
}

fill(
  element("nav"),
  IN_NAVIGATION.map((view) => h("a", { href: `#/${view}`, dataset: { view } }, VIEWS[view]?.title)),
);
// A link that begins at the edge of a phone is not scrolled to by the browser.
element("nav").addEventListener("focusin", ({ target }) => /** @type {HTMLElement} */ (target).scrollIntoView({ block: "nearest", inline: "nearest" }));
// The link moves the focus without becoming the address, which names the view.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  element("main").focus();
});
buildMenu();
showConnection();
startStream((message) => {
  stream = message;
  showConnection();
  if (message.state === "locked") void showSession();
}, showFiring);
document.addEventListener(LOCKED, lock);
addEventListener("hashchange", () => show());
show();
void showSession();
followTime();
poll(watchReadiness, READY_INTERVAL_MS, new AbortController().signal);

// The tab's side of the stream: says what the tab is interested in and hands on what it is told.

import { StreamHub } from "./stream-hub.js";

/** @typedef {import("./types").StreamMessage} StreamMessage */
/**
 * @typedef {object} Handlers
 * @property {(changes: import("./types").Change[], forgotten: {type: string, id: string}[]) => void} [changes]
 * @property {(changes: import("./types").Change[]) => void} [feed]
 * @property {(second: import("./types").Second) => void} [second]
 * @property {(message: Extract<StreamMessage, {kind: "top"}>) => void} [top]
 * @property {() => void} [alerts] what fires has changed
 * @property {() => void} [refresh] something may have been missed: ask for everything again
 */

/** @type {Omit<import("./types").Interest, "visible">} */
const NOTHING = { devices: [], feed: null, top: false };

let interest = NOTHING;
/** @type {Handlers} */
let handlers = {};
/** @type {(state: Extract<StreamMessage, {kind: "state"}>) => void} */
let showState = () => {};
/** @type {(firing: number) => void} */
let showFiring = () => {};
/** @type {import("./types").StreamState} */
let state = "connecting";
/** @type {StreamMessage[]} */
let waiting = [];

/** @type {(message: object) => void} */
let post = () => {};

/**
 * Begins to follow.
 * @param {typeof showState} onState
 * @param {typeof showFiring} onFiring how many alerts fire
 */
export function startStream(onState, onFiring) {
  showState = onState;
  showFiring = onFiring;
  if (typeof SharedWorker === "function") {
    const worker = new SharedWorker(new URL("./stream-worker.js", import.meta.url), { type: "module" });
    worker.port.onmessage = ({ data }) => receive(data);
    post = (message) => worker.port.postMessage(message);
  } else {
    // Without shared workers (Chrome on Android) each tab has a stream, but only while it is looked at.
    const hub = new StreamHub();
    const tab = {};
    post = (/** @type {any} */ message) => {
      if (message.kind === "interest" && message.interest.visible) hub.set(tab, receive, message.interest);
      else if (message.kind === "wake") hub.wake();
      else hub.remove(tab);
    };
  }
  const tell = () => post({ kind: "interest", interest: { visible: !document.hidden, ...interest } });
  document.addEventListener("visibilitychange", () => {
    tell();
    if (document.hidden) return;
    post({ kind: "wake" });
    handlers.refresh?.();
  });
  addEventListener("online", () => post({ kind: "wake" }));
  addEventListener("pagehide", () => post({ kind: "bye" }));
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    tell();
    handlers.refresh?.();
  });
  tell();
}

/**
 * What the view that is shown wants to be told; there is one at a time.
 * @param {Partial<typeof NOTHING>} wanted
 * @param {Handlers} by
 * @param {AbortSignal} signal
 */
export function subscribe(wanted, by, signal) {
  interest = { ...NOTHING, ...wanted };
  handlers = by;
  post({ kind: "interest", interest: { visible: !document.hidden, ...interest } });
  signal.addEventListener(
    "abort",
    () => {
      if (handlers !== by) return;
      interest = NOTHING;
      handlers = {};
      post({ kind: "interest", interest: { visible: !document.hidden, ...interest } });
    },
    { once: true },
  );
}

/** @param {StreamMessage} message */
function receive(message) {
  if (message.kind === "state") {
    showState(message);
    const isBack = message.state === "live" && state !== "live" && state !== "connecting";
    state = message.state;
    if (isBack) handlers.refresh?.();
    return;
  }
  // The page changes at most once for each frame that is drawn.
  if (waiting.push(message) === 1) requestAnimationFrame(handOn);
}

function handOn() {
  const messages = waiting;
  waiting = [];
  for (const message of messages) {
    if (message.kind === "changes") handlers.changes?.(message.changes, message.forgotten);
    else if (message.kind === "feed") handlers.feed?.(message.changes);
    else if (message.kind === "second") handlers.second?.(message.second);
    else if (message.kind === "top") handlers.top?.(message);
    else if (message.kind === "gap") handlers.refresh?.();
    else if (message.kind === "alerts") {
      showFiring(message.firing);
      handlers.alerts?.();
    }
  }
}

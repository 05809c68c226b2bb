// The shared worker: one stream for all tabs of a browser.

import { StreamHub } from "./stream-hub.js";

const hub = new StreamHub();

const scope = /** @type {any} */ (self);
scope.onconnect = (/** @type {MessageEvent} */ event) => {
  const port = /** @type {MessagePort} */ (event.ports[0]);
  port.onmessage = ({ data }) => {
    if (data.kind === "interest") hub.set(port, (message) => port.postMessage(message), data.interest);
    else if (data.kind === "wake") hub.wake();
    else if (data.kind === "bye") hub.remove(port);
  };
  // A tab that crashed says no goodbye; browsers that tell of it do so by this event.
  port.addEventListener("close", () => hub.remove(port));
};

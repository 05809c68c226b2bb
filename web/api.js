// Asks the API. Everything the page shows comes from here or from the stream of changes.

/** How long an answer may take before the page says that there is none. */
const TIMEOUT_MS = 15_000;

/** An answer that is no success, or no answer at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {string} [title]
   */
  constructor(status, message, title = "") {
    super(message);
    this.status = status;
    this.title = title;
  }
}

/**
 * @param {string} path
 * @param {RequestInit & {patience?: number}} options
 */
async function ask(path, { signal, patience = TIMEOUT_MS, ...options }) {
  const timeout = AbortSignal.timeout(patience);
  try {
    return await fetch(path, {
      ...options,
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, timeout.aborted ? `The service has not answered in ${patience / 1000} seconds.` : "The service cannot be reached.");
  }
}

/** Is sent to the document when the service asks for a key. */
export const LOCKED = "devstatus-locked";

/** @param {Response} response */
async function problemOf(response) {
  if (response.status === 401) document.dispatchEvent(new Event(LOCKED));
  const problem = await response.json().catch(() => null);
  const title = typeof problem?.title === "string" ? problem.title : "";
  const detail = typeof problem?.detail === "string" ? problem.detail : `The service answered ${response.status}.`;
  return new ApiError(response.status, detail, title);
}

/**
 * @template Answer
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 */
export async function get(path, signal) {
  const response = await ask(path, { signal, headers: { Accept: "application/json" } });
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export async function getText(path, signal) {
  const response = await ask(path, { signal });
  if (!response.ok) throw await problemOf(response);
  return response.text();
}

/**
 * The present state of devices that are shown.
 * @param {{type: string, id: string}[]} devices
 * @param {AbortSignal} [signal]
 * @returns {Promise<import("./types").Device[]>}
 */
export async function lookup(devices, signal) {
  const response = await ask("/api/v1/devices:lookup", {
    signal,
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ devices: devices.map(({ type, id }) => ({ type, id })) }),
  });
  if (!response.ok) throw await problemOf(response);
  return (await response.json()).devices;
}

/** How long an order may take: the service waits for another system as long as this, and says so. */
const ORDER_TIMEOUT_MS = 35_000;

/**
 * Changes something, as the commands do that the views show.
 * @template Answer
 * @param {"POST" | "DELETE"} method
 * @param {string} path
 * @returns {Promise<Answer | null>} `null`: it is done, and there is nothing to say of it
 */
export async function send(method, path) {
  const response = await ask(path, { method, patience: ORDER_TIMEOUT_MS });
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

const SESSION = "/api/v1/session";

/**
 * What this browser may do, and until when if it is logged in; `null`: it has to log in.
 * @returns {Promise<import("./types").Session | null>}
 */
export async function session() {
  const response = await ask(SESSION, {});
  if (response.status === 401) return null;
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

/**
 * Logs in: from then on the browser sends a cookie in place of the key, which is kept nowhere.
 * @param {string} key
 */
export async function logIn(key) {
  // A header takes bytes, and every key is ASCII.
  const response = await ask(SESSION, { method: "POST", headers: { Authorization: `Bearer ${encodeURIComponent(key)}` } });
  if (response.status === 401) throw new ApiError(401, "No such key is in force.");
  if (!response.ok) throw await problemOf(response);
}

export async function logOut() {
  const response = await ask(SESSION, { method: "DELETE" });
  if (!response.ok) throw await problemOf(response);
}

/**
 * 503 is an answer here: its body says what is missing.
 * @param {AbortSignal} [signal]
 * @returns {Promise<{readiness: import("./types").Readiness, staleSince: number | null}>}
 */
export async function readiness(signal) {
  const response = await ask("/readyz", { signal });
  if (!response.ok && response.status !== 503) throw await problemOf(response);
  const seconds = Number(response.headers.get("devstatus-stale-seconds") ?? NaN);
  const staleSince = Number.isFinite(seconds) ? Date.now() - 1000 * seconds : null;
  return { readiness: await response.json(), staleSince };
}

/**
 * Calls again and again while the tab is looked at; a failure is the callee's to show.
 * @param {() => Promise<void>} call
 * @param {number} interval
 * @param {AbortSignal} signal
 */
export async function poll(call, interval, signal) {
  while (!signal.aborted) {
    if (!document.hidden) await call();
    await sleep(interval, signal);
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
      resolve(undefined);
    };
    const shown = () => !document.hidden && done();
    const timer = setTimeout(done, milliseconds);
    document.addEventListener("visibilitychange", shown);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** A segment of a path; what the shell would take for a quote is escaped, too. @param {string} text */
export const segment = (text) => encodeURIComponent(text).replace(/['()*!]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

/** @param {string} type @param {string} id */
export const devicePath = (type, id) => `/api/v1/devices/${segment(type)}/${segment(id)}`;

/** @param {string} type @param {string} id */
export const deviceLink = (type, id) => `#/devices/${segment(type)}/${segment(id)}`;

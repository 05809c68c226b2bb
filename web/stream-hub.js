// Holds the one stream of changes of a browser and tells each tab what it is interested in. Runs in a shared worker, or in
// the page where there are none.

import { matches } from "./filter.js";
import { EventParser } from "./sse.js";
import { SecondTally, TopTally } from "./tallies.js";

/** The service sends something at least every 15 seconds; after this long without a byte the connection is dead. */
const SILENCE_MAX_MS = 40_000;
/** After a pause of the clock this long the machine has slept, and connections may be dead without anyone knowing. */
const SLEEP_MS = 10_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;
/** A refusal by rights or by settings will not change soon. */
const REFUSED_RETRY_MS = 15_000;
/** Changes wait so long for others before they go to the tabs in one message. */
const FLUSH_MS = 100;
/** More than a person can read; what comes beyond is in the sums. */
const FEED_ROWS_PER_SECOND = 20;
/** Changes of watched devices in one message. A list shows at most 500 devices; of each only the latest matters. */
const CHANGES_MAX = 500;
/** The latest changes, for a view that has read a list just before it says what it shows. */
const RECENT_MAX = 1_000;
/** Groups of alerts that are counted; what fires beyond them is seen in the list. */
const ALERT_GROUPS_MAX = 10_000;
const TOP_MAX = 8;
const TOP_INTERVAL_MS = 2_000;

/** @typedef {import("./types").StreamMessage} StreamMessage */
/** @typedef {(message: StreamMessage) => void} Send */

/** One tab. */
class Subscriber {
  /** @param {Send} send */
  constructor(send) {
    this.send = send;
    this.visible = true;
    /** @type {Set<string>} */
    this.devices = new Set();
    /** @type {import("./types").Filter | null} */
    this.feed = null;
    this.top = false;
    /** @type {Map<string, import("./types").Change>} */
    this.changes = new Map();
    /** @type {{type: string, id: string}[]} */
    this.forgotten = [];
    /** @type {import("./types").Change[]} */
    this.feedRows = [];
    this.feedSent = 0;
    this.tally = new SecondTally();
  }

  /** @param {import("./types").Interest} interest */
  interest({ visible, devices, feed, top }) {
    this.visible = visible;
    this.devices = new Set(devices);
    this.feed = feed;
    this.top = top;
    this.changes.clear();
    this.feedRows = [];
    this.tally.clear();
  }

  /**
   * @param {string} key
   * @param {import("./types").Change} change
   */
  take(key, change) {
    if (!this.visible) return;
    if (this.devices.has(key) && (this.changes.has(key) || this.changes.size < CHANGES_MAX)) this.changes.set(key, change);
    if (this.feed && matches(this.feed, change)) {
      this.tally.add(change);
      if (this.feedSent < FEED_ROWS_PER_SECOND) {
        this.feedSent += 1;
        this.feedRows.push(change);
      }
    }
  }

  flush() {
    if (this.changes.size > 0 || this.forgotten.length > 0) {
      this.send({ kind: "changes", changes: [...this.changes.values()], forgotten: this.forgotten });
      this.changes.clear();
      this.forgotten = [];
    }
    if (this.feedRows.length > 0) {
      this.send({ kind: "feed", changes: this.feedRows });
      this.feedRows = [];
    }
  }

  /** @param {number} now */
  second(now) {
    this.feedSent = 0;
    if (this.visible && this.feed) this.send({ kind: "second", second: this.tally.take(now) });
  }
}

export class StreamHub {
  constructor() {
    /** @type {Map<object, Subscriber>} */
    this.subscribers = new Map();
    /** @type {import("./types").StreamState} */
    this.state = "connecting";
    this.detail = "";
    /** Since when the state lasts; for a broken stream, when it was last known to be whole. */
    this.since = Date.now();
    this.lastByteAt = Date.now();
    this.lastId = "";
    this.top = new TopTally(Date.now());
    /** @type {Map<string, import("./types").Change>} */
    this.recent = new Map();
    /** How many alerts of each group fire; `null`: that is not known. @type {Map<string, number> | null} */
    this.alerts = null;
    this.alertsChanged = false;
    this.running = false;
    this.lastTickAt = Date.now();
    this.lastTopAt = 0;
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.flushTimer = null;
    /** @type {AbortController | null} */
    this.attempt = null;
    /** @type {(() => void) | null} */
    this.endWait = null;
  }

  /**
   * @param {object} tab
   * @param {Send} send
   * @param {import("./types").Interest} interest
   */
  set(tab, send, interest) {
    const known = this.subscribers.get(tab);
    const subscriber = known ?? new Subscriber(send);
    subscriber.interest(interest);
    this.subscribers.set(tab, subscriber);
    if (!known) send({ kind: "state", state: this.state, since: this.since, detail: this.detail });
    for (const key of subscriber.devices) {
      const change = this.recent.get(key);
      if (change) subscriber.changes.set(key, change);
    }
    subscriber.flush();
    if (subscriber.visible) this.#tellAlerts([subscriber]);
    if (subscriber.top) subscriber.send({ kind: "top", ...this.top.top(TOP_MAX) });
    if (!this.running) void this.#run();
  }

  /** @param {object} tab */
  remove(tab) {
    this.subscribers.delete(tab);
    if (this.subscribers.size === 0) this.attempt?.abort();
    if (this.subscribers.size === 0) this.endWait?.();
  }

  /** A tab has come back, or the network has: nothing is waited for any longer. */
  wake() {
    if (this.state === "live" && Date.now() - this.lastByteAt > SILENCE_MAX_MS / 2) this.attempt?.abort();
    this.endWait?.();
  }

  async #run() {
    this.running = true;
    const clock = setInterval(() => this.#tick(), 1000);
    let retry = RETRY_MIN_MS;
    while (this.subscribers.size > 0) {
      this.attempt = new AbortController();
      const wait = await this.#follow(this.attempt).catch(() => null);
      if (this.subscribers.size === 0) break;
      if (this.state === "live") {
        retry = RETRY_MIN_MS;
        this.#become("reconnecting", "", this.lastByteAt);
      } else if (this.state === "connecting") {
        this.#become("reconnecting", "", this.since);
      }
      await this.#wait(wait ?? retry * (0.75 + Math.random() / 2));
      retry = Math.min(RETRY_MAX_MS, retry * 2);
    }
    clearInterval(clock);
    this.running = false;
  }

  /** @param {number} milliseconds */
  #wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.endWait = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /**
   * One connection, from the request to its end.
   * @param {AbortController} attempt
   * @returns {Promise<number | null>} how long to wait before the next, if that is known
   */
  async #follow(attempt) {
    this.lastByteAt = this.state === "live" ? this.lastByteAt : Date.now();
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    const response = await fetch("/api/v1/events?alerts=true", { headers, cache: "no-store", signal: attempt.signal });
    if (!response.ok || !response.body) return this.#refused(response);
    this.lastByteAt = Date.now();
    this.#become("live", "", Date.now());
    // What fires is told anew on each stream.
    this.alerts = new Map();
    const parser = new EventParser((event) => this.#event(event));
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return null;
      this.lastByteAt = Date.now();
      parser.push(decoder.decode(value, { stream: true }));
    }
  }

  /** @param {Response} response */
  #refused(response) {
    const after = Number(response.headers.get("retry-after"));
    if (response.status === 401 || response.status === 403) {
      this.#become("locked", "", Date.now());
      return REFUSED_RETRY_MS;
    }
    if (response.status === 501) {
      this.#become("unavailable", "This instance holds only some of the devices and has no stream of changes.", Date.now());
      return REFUSED_RETRY_MS;
    }
    return after > 0 ? after * 1000 : null;
  }

  /** @param {{id: string | null, name: string, data: string}} event */
  #event({ id, name, data }) {
    if (id !== null) this.lastId = id;
    if (name === "gap") {
      for (const subscriber of this.subscribers.values()) subscriber.send({ kind: "gap" });
    } else if (name === "change") {
      /** @type {import("./types").Change} */
      const change = JSON.parse(data);
      const key = `${change.type}/${change.id}`;
      this.top.add(key, Date.now());
      this.#remember(key, change);
      for (const subscriber of this.subscribers.values()) subscriber.take(key, change);
      this.#flushSoon();
    } else if (name === "forgotten") {
      const device = JSON.parse(data);
      this.recent.delete(`${device.type}/${device.id}`);
      for (const subscriber of this.subscribers.values()) {
        if (subscriber.devices.has(`${device.type}/${device.id}`)) subscriber.forgotten.push(device);
      }
      this.#flushSoon();
    } else if (name === "alert" || name === "alerts_complete") {
      if (name === "alert") this.#alert(JSON.parse(data));
      this.alertsChanged = true;
      this.#flushSoon();
    }
  }

  /** @param {{key: string, status: string, firing_total: number}} group */
  #alert({ key, status, firing_total }) {
    if (status !== "firing") this.alerts?.delete(key);
    else if (this.alerts && (this.alerts.has(key) || this.alerts.size < ALERT_GROUPS_MAX)) this.alerts.set(key, firing_total);
  }

  /** @param {Iterable<Subscriber>} subscribers */
  #tellAlerts(subscribers) {
    if (!this.alerts) return;
    const firing = [...this.alerts.values()].reduce((sum, number) => sum + number, 0);
    for (const subscriber of subscribers) if (subscriber.visible) subscriber.send({ kind: "alerts", firing });
  }

  /**
   * @param {string} key
   * @param {import("./types").Change} change
   */
  #remember(key, change) {
    // Deleted first, so that the map stays in the order of the changes.
    this.recent.delete(key);
    this.recent.set(key, change);
    if (this.recent.size <= RECENT_MAX) return;
    const oldest = this.recent.keys().next().value;
    if (oldest !== undefined) this.recent.delete(oldest);
  }

  #flushSoon() {
    this.flushTimer ??= setTimeout(() => {
      this.flushTimer = null;
      for (const subscriber of this.subscribers.values()) subscriber.flush();
      if (this.alertsChanged) this.#tellAlerts(this.subscribers.values());
      this.alertsChanged = false;
    }, FLUSH_MS);
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.lastTickAt > SLEEP_MS;
    this.lastTickAt = now;
    // After a sleep the connection may look whole and be dead; a new one resumes where this one was.
    if (this.state === "live" && (slept || now - this.lastByteAt > SILENCE_MAX_MS)) this.attempt?.abort();
    for (const subscriber of this.subscribers.values()) subscriber.second(now);
    if (now - this.lastTopAt < TOP_INTERVAL_MS) return;
    this.lastTopAt = now;
    const wanting = [...this.subscribers.values()].filter((subscriber) => subscriber.visible && subscriber.top);
    if (wanting.length === 0) return;
    const top = this.top.top(TOP_MAX);
    for (const subscriber of wanting) subscriber.send({ kind: "top", ...top });
  }

  /**
   * @param {import("./types").StreamState} state
   * @param {string} detail
   * @param {number} since
   */
  #become(state, detail, since) {
    if (state === this.state && state !== "live") return;
    this.state = state;
    this.detail = detail;
    this.since = since;
    for (const subscriber of this.subscribers.values()) subscriber.send({ kind: "state", state, since, detail });
  }
}

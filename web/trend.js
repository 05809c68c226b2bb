// What the series say of the last day: lines with gaps where the fleet was not observed.

import { h, s } from "./dom.js";
import { count, statusWord, tick } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 120;
/** Points of a line: more are not told apart on a card. */
const POINTS_MAX = 288;
/** A fleet that is observed for a short time only is drawn over one of these, in hours: as a stroke at the edge nobody could read it. */
const SHORT_PERIODS = [1, 6];
const HOUR_MS = 3_600_000;
/** The interval that is on, and the one that is being written, are not there yet; that is no gap. */
const UNWRITTEN_MAX = 2;

/** @typedef {{min: number, max: number, last: number} | null} Point */

/**
 * @param {import("./types").Series} answer
 * @returns {import("./dom.js").Child[]}
 */
export function trend(answer) {
  const all = written(answer);
  const first = all.connected.last.findIndex((value) => value !== null);
  const { series, words } = period(all, first);
  const connected = gaugePoints(series.connected);
  const perMinute = (/** @type {(number | null)[]} */ values) => flowPoints(values, series.step_seconds);
  const connects = perMinute(series.connects);
  const disconnects = perMinute(series.disconnects);
  const isObserved = connected.some((point) => point !== null);
  if (!isObserved) {
    return [h("p", { class: "muted" }, "Not observed yet: the line begins a minute after all retained statuses have been read.")];
  }
  const [, peak] = extremes([...connects, ...disconnects]);
  const range = { from: Date.parse(series.from), to: Date.parse(series.to) };
  const gaps = connected.some((point, index) => point === null && connected.slice(0, index).some((before) => before !== null));
  return [
    devicesChart("connected", connected, range, words),
    devicesChart("disconnected", gaugePoints(series.disconnected), range, words),
    chart({
      title: "Changes a minute",
      label: `Sessions a minute in ${words}: at most ${count(extremes(connects)[1])} began, and ${count(extremes(disconnects)[1])} ended.`,
      low: 0,
      high: Math.max(1, peak),
      lines: [
        { points: connects, kind: "connected", name: "connects" },
        { points: disconnects, kind: "disconnected", name: "disconnects" },
      ],
      range,
    }),
    series !== all && h("p", { class: "muted" }, `Not observed before ${tick(Date.parse(all.from) + first * 1000 * all.step_seconds, 0)}, so only ${words} is drawn.`),
    gaps && h("p", { class: "muted" }, "Where a line is interrupted, the fleet was not observed."),
  ].filter((child) => child !== false);
}

/**
 * How many devices were so, between the lowest and the highest number.
 * @param {"connected" | "disconnected"} kind
 * @param {Point[]} points
 * @param {{from: number, to: number}} range
 * @param {string} words the period
 */
function devicesChart(kind, points, range, words) {
  const [low, high] = extremes(points);
  const title = `${statusWord(kind)} devices`;
  return chart({
    title,
    label: `${title} in ${words}: between ${count(low)} and ${count(high)}, ${count(latest(points))} at the end.`,
    low: low === high ? Math.max(0, low - 1) : low,
    high: low === high ? high + 1 : high,
    lines: [{ points, kind, name: null }],
    range,
  });
}

/**
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.label
 * @param {number} options.low
 * @param {number} options.high
 * @param {{points: Point[], kind: "connected" | "disconnected", name: string | null}[]} options.lines
 * @param {{from: number, to: number}} options.range
 */
function chart({ title, label, low, high, lines, range }) {
  const y = (/** @type {number} */ value) => (HEIGHT - 2) - ((HEIGHT - 4) * (value - low)) / (high - low);
  const legend = lines.map(
    ({ kind, name }) =>
      name !== null &&
      h("span", { class: "trend-key" }, s("svg", { class: "trend-sample", viewBox: "0 0 24 8", "aria-hidden": "true" }, s("path", { class: `line-${kind}`, d: "M0 4h24" })), name),
  );
  const ticks = [0, 1, 2, 3, 4].map((part) => (part === 4 ? "now" : tick(range.from + ((range.to - range.from) * part) / 4, range.to - range.from)));
  return h(
    "figure",
    { class: "trend" },
    h("figcaption", {}, title, " ", ...legend),
    h(
      "div",
      { class: "trend-frame" },
      h("div", { class: "trend-scale", "aria-hidden": "true" }, h("span", {}, count(high)), h("span", {}, count(low))),
      s(
        "svg",
        { class: "trend-plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
        s("path", { class: "stroke-none", d: `M0 ${HEIGHT - 2}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }),
        lines.map(({ points, kind }) => s("path", { class: `line-${kind}`, d: path(points, y), "vector-effect": "non-scaling-stroke" })),
      ),
    ),
    h("div", { class: "axis trend-axis", "aria-hidden": "true" }, ticks.map((text) => h("span", {}, text))),
  );
}

/**
 * A line through the lowest and highest value of each point, so that no peak is lost; it is broken where there is no point.
 * @param {Point[]} points
 * @param {(value: number) => number} y
 */
function path(points, y) {
  const width = WIDTH / points.length;
  const place = (/** @type {number} */ at, /** @type {number} */ value) => `${at.toFixed(1)} ${y(value).toFixed(1)}`;
  let isBroken = true;
  return points
    .map((point, index) => {
      if (point === null) {
        isBroken = true;
        return "";
      }
      const left = index * width;
      const begin = isBroken ? `M${place(left, point.last)}` : "";
      isBroken = false;
      const peaks = point.min === point.max ? "" : `L${place(left + width / 3, point.min)}L${place(left + (2 * width) / 3, point.max)}`;
      return `${begin}${peaks}L${place(left + width, point.last)}`;
    })
    .join("");
}

/**
 * The shortest period that has all that was observed.
 * @param {import("./types").Series} series
 * @param {number} first the first interval that was observed
 */
function period(series, first) {
  const length = series.connected.last.length;
  for (const hours of SHORT_PERIODS) {
    const shown = (hours * 3600) / series.step_seconds;
    if (first < 0 || shown >= length || length - first > shown) continue;
    const cut = (/** @type {(number | null)[]} */ values) => values.slice(-shown);
    const gauge = (/** @type {import("./types").GaugeSeries} */ { min, max, last }) => ({ min: cut(min), max: cut(max), last: cut(last) });
    const [connected, disconnected] = [gauge(series.connected), gauge(series.disconnected)];
    const from = new Date(Date.parse(series.to) - hours * HOUR_MS).toISOString();
    const words = hours === 1 ? "the last hour" : `the last ${hours} hours`;
    return { series: { ...series, from, connected, disconnected, connects: cut(series.connects), disconnects: cut(series.disconnects) }, words };
  }
  return { series, words: "the last 24 hours" };
}

/** The series without its end, as far as that is not written yet. @param {import("./types").Series} series */
function written(series) {
  const { last } = series.connected;
  const length = Math.max(last.findLastIndex((value) => value !== null) + 1, last.length - UNWRITTEN_MAX);
  const cut = (/** @type {(number | null)[]} */ values) => values.slice(0, length);
  const gauge = (/** @type {import("./types").GaugeSeries} */ { min, max, last }) => ({ min: cut(min), max: cut(max), last: cut(last) });
  const [connected, disconnected] = [gauge(series.connected), gauge(series.disconnected)];
  return { ...series, connected, disconnected, connects: cut(series.connects), disconnects: cut(series.disconnects) };
}

/** @param {import("./types").GaugeSeries} gauge */
function gaugePoints({ min, max, last }) {
  return parts(last).map(({ from, to }) => {
    const [low, high, ends] = [min, max, last].map((values) => known(values.slice(from, to)));
    const end = ends?.at(-1);
    return !low || !high || end === undefined ? null : { min: Math.min(...low), max: Math.max(...high), last: end };
  });
}

/** @param {(number | null)[]} values @param {number} step */
function flowPoints(values, step) {
  return parts(values).map(({ from, to }) => {
    const rates = known(values.slice(from, to))?.map((value) => (value * 60) / step);
    const end = rates?.at(-1);
    return !rates || end === undefined ? null : { min: Math.min(...rates), max: Math.max(...rates), last: end };
  });
}

/** All of the values, or none if one is missing: a gap is shown however short it is. @param {(number | null)[]} values */
function known(values) {
  const found = values.filter((value) => value !== null);
  return found.length === values.length ? found : null;
}

/** @param {unknown[]} values */
function parts(values) {
  const size = Math.max(1, Math.ceil(values.length / POINTS_MAX));
  return Array.from({ length: Math.ceil(values.length / size) }, (_, index) => ({ from: index * size, to: (index + 1) * size }));
}

/** @param {Point[]} points @returns {[number, number]} */
function extremes(points) {
  const seen = points.filter((point) => point !== null);
  if (seen.length === 0) return [0, 0];
  return [Math.min(...seen.map(({ min }) => min)), Math.max(...seen.map(({ max }) => max))];
}

/** @param {Point[]} points */
const latest = (points) => points.findLast((point) => point !== null)?.last ?? 0;

// Drawings, as inline SVG. Whatever they show is also said in words beside them.

import { h, s } from "./dom.js";
import { tick } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 40;
/** A short session is still seen. */
const WIDTH_MIN = 1.5;

/**
 * When a device was connected: a high band while it was, a low one while it was not, nothing while that is not known.
 * @param {object} options
 * @param {import("./sessions.js").Span[]} options.connected
 * @param {import("./sessions.js").Span[]} options.known
 * @param {import("./sessions.js").Span} options.period
 * @param {string} options.label
 */
export function timeline({ connected, known, period, label }) {
  const range = period.to - period.from;
  const x = (/** @type {number} */ time) => (WIDTH * (time - period.from)) / range;
  /** @param {import("./sessions.js").Span[]} spans @param {number} top @param {number} narrowest */
  const bands = (spans, top, narrowest) =>
    spans.map(({ from, to }) => {
      const width = Math.max(narrowest, x(to) - x(from));
      return `M${x(from).toFixed(2)} ${top}h${width.toFixed(2)}V${HEIGHT}h-${width.toFixed(2)}z`;
    });
  const drawing = s(
    "svg",
    { class: "timeline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("path", { class: "stroke-none", d: `M0 ${HEIGHT - 1}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }),
    s("path", { class: "fill-disconnected", d: bands(known, HEIGHT * 0.68, 0).join("") }),
    s("path", { class: "fill-connected", d: bands(connected, 0, WIDTH_MIN).join("") }),
  );
  return h("div", { class: "timeline-frame" }, drawing, axis(period));
}

/** @param {import("./sessions.js").Span} period */
function axis({ from, to }) {
  const range = to - from;
  const steps = 4;
  const ticks = Array.from({ length: steps + 1 }, (_, index) => from + (range * index) / steps);
  return h("div", { class: "axis", "aria-hidden": "true" }, ticks.map((time, index) => h("span", {}, index === steps ? "now" : tick(time, range))));
}

/**
 * A number for each second, newest at the right.
 * @param {number[]} values
 * @param {string} label
 */
export function columns(values, label) {
  const highest = Math.max(1, ...values);
  const width = WIDTH / values.length;
  const bars = values.map((value, index) => {
    const height = (HEIGHT * value) / highest;
    return value > 0 ? `M${(index * width + width * 0.1).toFixed(1)} ${HEIGHT}v-${height.toFixed(1)}h${(width * 0.8).toFixed(1)}v${height.toFixed(1)}z` : "";
  });
  return s(
    "svg",
    { class: "timeline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("path", { class: "stroke-none", d: `M0 ${HEIGHT - 0.5}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }),
    s("path", { class: "fill-connected", d: bars.join("") }),
  );
}

// A field of a form that takes several values: each that is complete is a chip beside it, with a button that removes it.

import { fill, h } from "./dom.js";
import { name } from "./parts.js";

/** As many as the API lets be asked for at once. */
const VALUES_MAX = 100;

/**
 * @param {object} options
 * @param {string} options.label
 * @param {HTMLInputElement | HTMLSelectElement} options.field
 * @param {string[]} [options.values]
 * @param {boolean} [options.partial] what is being typed counts, too; else only what was chosen or entered
 * @param {(value: string) => string} [options.word] how a value is written
 * @param {(typing: boolean) => void} options.change
 */
export function several({ label, field, values = [], partial = false, word = (value) => value, change }) {
  // One value that may be typed on is left in the field.
  let chosen = partial && values.length === 1 ? [] : [...new Set(values)];
  if (partial && values.length === 1) field.value = values[0] ?? "";
  const chips = h("span", { class: "chips" });
  const show = () =>
    fill(
      chips,
      chosen.map((value) =>
        h(
          "button",
          { type: "button", class: "chip", "aria-label": `Remove ${label}: ${word(value)}`, on: { click: () => remove(value) } },
          name(word(value)),
          h("span", { "aria-hidden": "true" }, " ×"),
        ),
      ),
    );
  const remove = (/** @type {string} */ value) => {
    chosen = chosen.filter((other) => other !== value);
    show();
    field.focus();
    change(false);
  };
  /** Makes a chip of what the field holds. */
  const commit = () => {
    const value = field.value;
    field.value = "";
    if (!value || chosen.includes(value) || chosen.length >= VALUES_MAX) return;
    chosen = [...chosen, value];
    show();
  };
  if (partial) {
    field.addEventListener("input", () => change(true));
    field.addEventListener("keydown", (event) => {
      if (/** @type {KeyboardEvent} */ (event).key !== "Enter" || !field.value) return;
      event.preventDefault();
      commit();
      change(false);
    });
    field.title = "Enter keeps it and lets a further one be added";
  } else {
    field.addEventListener("change", () => {
      commit();
      change(false);
    });
  }
  show();
  return {
    element: h("div", { class: "field" }, h("label", {}, h("span", {}, label), field), chips),
    field,
    read: () => (partial && field.value && !chosen.includes(field.value) ? [...chosen, field.value] : chosen),
    clear: () => {
      chosen = [];
      field.value = "";
      show();
    },
  };
}

/** Options of a choice. @param {string[]} values @param {string} [none] @param {(value: string) => string} [word] */
export const options = (values, none = "any", word = (value) => value.replaceAll("_", " ")) =>
  ["", ...values].map((value) => h("option", { value }, value === "" ? none : word(value)));

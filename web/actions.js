// What changes something: who may, and what came of it, in words.

import { session } from "./api.js";
import { fill, h } from "./dom.js";
import { notice } from "./parts.js";

/**
 * Whether this browser may change things, and if not, why.
 * @returns {Promise<{admin: boolean, why: import("./dom.js").Child[]}>}
 */
export async function rights() {
  const current = await session().catch(() => null);
  if (current?.scopes.includes("admin")) return { admin: true, why: [] };
  const logIn = h("a", { href: "#/login" }, "Log in");
  const why = current?.key_id ? ["The key of this login lacks the scope admin. ", logIn, " with one that has it."] : ["That takes a key with the scope admin. ", logIn, " with one, if this service has a keys file."];
  return { admin: false, why };
}

/** A line that says what came of the last order. */
export function outcome() {
  const element = h("div", { role: "status" });
  return {
    element,
    clear: () => fill(element),
    /** @param {...import("./dom.js").Child} words */
    done: (...words) => fill(element, notice("info", ...words)),
    /** @param {string} what @param {unknown} error */
    failed: (what, error) => fill(element, notice("warning", h("strong", {}, `${what} `), error instanceof Error ? error.message : String(error))),
  };
}

/** Buttons whose order is under way; a second click is none. @type {WeakSet<Element>} */
const busy = new WeakSet();

/**
 * Listens to the buttons of a part, which say by `data-action` what they do: content that is patched has no listeners of its own.
 * @param {Element} root
 * @param {ReturnType<typeof outcome>} line
 * @param {Record<string, {failed: string, run: (data: DOMStringMap, button: HTMLButtonElement) => Promise<void>}>} orders
 */
export function orders(root, line, orders) {
  root.addEventListener("click", async (event) => {
    const button = /** @type {Element} */ (event.target).closest("button[data-action]");
    if (!(button instanceof HTMLButtonElement) || busy.has(button)) return;
    const order = orders[button.dataset.action ?? ""];
    if (!order) return;
    busy.add(button);
    line.clear();
    try {
      await order.run(button.dataset, button);
    } catch (error) {
      line.failed(order.failed, error);
    } finally {
      busy.delete(button);
    }
  });
}

/** @param {string} action @param {string} text @param {Record<string, string>} [data] @param {string} [label] */
export const orderButton = (action, text, data = {}, label) => h("button", { type: "button", class: "quiet", dataset: { ...data, action }, "aria-label": label }, text);

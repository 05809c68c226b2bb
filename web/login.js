// The login: a key is entered once, and a cookie that no script can read stands for it.

import { logIn, session } from "./api.js";
import { fill, h } from "./dom.js";
import { notice } from "./parts.js";

/**
 * @param {HTMLElement} root
 * @param {() => void} done
 */
export function login(root, done) {
  const key = h("input", { id: "key", type: "password", autocomplete: "current-password", autocapitalize: "none", spellcheck: "false", required: true, "aria-describedby": "key-hint" });
  const button = h("button", { type: "submit" }, "Log in");
  const problem = h("div", { role: "alert" });
  const submit = async () => {
    button.disabled = true;
    fill(problem);
    try {
      await logIn(key.value.trim());
      if (await session()) return done();
      fill(problem, notice("warning", "The key is good, but the browser did not keep the login: it does so only over HTTPS, or on the machine of the service."));
    } catch (error) {
      fill(problem, notice("warning", error instanceof Error ? error.message : String(error)));
      key.select();
    }
    button.disabled = false;
  };
  const form = h(
    "form",
    { class: "card login" },
    h("label", { for: "key" }, "API key"),
    h("p", { class: "muted", id: "key-hint" }, "As ", h("code", {}, "devstatus keys create"), " has printed it after ", h("code", {}, "bearer:"), ", with the scopes read and events. The login lasts 12 hours."),
    h("div", { class: "field" }, key, button),
    problem,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit();
  });
  fill(root, h("h1", { tabindex: -1 }, "Log in"), form);
  key.focus();
}

// The address behind `#` names the view and its filters: `#/devices?type=pump&status=disconnected`.

/** @returns {import("./types").Route} */
export function currentRoute() {
  const [path = "", query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  const segments = path.split("/").filter(Boolean).map(decoded);
  const view = segments[0] ?? "";
  const isDevice = view === "devices" && segments.length === 3;
  return { view: isDevice ? "device" : view, segments: segments.slice(1), query: new URLSearchParams(query) };
}

/** A malformed escape is shown as it is written. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * @param {string} view
 * @param {URLSearchParams} query
 */
export function address(view, query) {
  const text = query.toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

/**
 * Goes to a view; `replace` leaves no step in the browser's history, as for a filter that is being typed.
 * @param {string} target
 * @param {{replace?: boolean}} [options]
 */
export function go(target, { replace = false } = {}) {
  if (location.hash === target) return;
  if (replace) {
    history.replaceState(null, "", target);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = target;
  }
}

// Builds elements. Text becomes text nodes only: nothing that a device sends is ever parsed as HTML.

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

/**
 * An HTML element. `on` holds listeners, `dataset` data attributes; everything else is an attribute.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, properties);
  append(element, children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function s(tag, properties = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  assign(element, properties);
  append(element, children);
  return element;
}

/**
 * @param {HTMLElement | SVGElement} element
 * @param {Record<string, any>} properties
 */
function assign(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "dataset") {
      Object.assign(element.dataset, value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/**
 * @param {Node} parent
 * @param {Child[]} children
 */
function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Replaces what an element holds.
 * @param {Element} parent
 * @param {...Child} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/**
 * Changes a text only if it differs, so that a screen reader and a selection are left alone.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes an element hold these children by changing as little as possible: what is focused, hovered or selected stays. For
 * content without listeners, as those of the old elements stay.
 * @param {Element} parent
 * @param {...Child} children
 */
export function patch(parent, ...children) {
  const wanted = document.createElement("div");
  append(wanted, children);
  patchChildren(parent, wanted);
}

/**
 * @param {Node} present
 * @param {Node} wanted
 */
function patchChildren(present, wanted) {
  const [old, fresh] = [[...present.childNodes], [...wanted.childNodes]];
  fresh.forEach((node, index) => {
    const before = old[index];
    if (!before) present.appendChild(node);
    else if (before.nodeName !== node.nodeName) present.replaceChild(node, before);
    else if (before instanceof Element && node instanceof Element) patchElement(before, node);
    else if (before.nodeValue !== node.nodeValue) before.nodeValue = node.nodeValue;
  });
  for (const node of old.slice(fresh.length)) present.removeChild(node);
}

/**
 * @param {Element} present
 * @param {Element} wanted
 */
function patchElement(present, wanted) {
  for (const { name } of [...present.attributes]) if (!wanted.hasAttribute(name)) present.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  patchChildren(present, wanted);
}

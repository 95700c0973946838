// Elements. Everything the API says enters the page here, as text nodes: nothing is ever parsed as HTML.

/**
 * Make an element.
 * @param {string} tag
 * @param {object} attributes `class`, `on` ({event: listener}), `value`, `checked`, `disabled`, `hidden`; the rest as attributes.
 * @param {...(Node|string|number|null|false|Array)} children null and false are skipped.
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") node[name] = value;
    else node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Replace what is inside, keeping the node. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
}

/** Set text only if it differs: a node left alone keeps its selection and costs nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A mark that says its meaning by shape and word; colour only repeats it. */
export function badge(tone, symbol, text) {
  return el("span", { class: `badge ${tone}` }, el("span", { class: "symbol", "aria-hidden": "true" }, symbol), text);
}

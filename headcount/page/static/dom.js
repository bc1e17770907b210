// The elements of the page, and how they are made.

export const $ = (id) => document.getElementById(id);

export const stage = $("stage");

export function showBanner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text;
}

export function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props))
    if (name in node) node[name] = value;
    else if (value !== null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function svgElement(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const icon = (name) =>
  svgElement("svg", { class: "icon", "aria-hidden": "true" }, svgElement("use", { href: `#i-${name}` }));

/** Replace the children of `parent`. Focus and unfinished input move to the new element with the same id. */
export function replaceChildren(parent, ...children) {
  const held = parent.contains(document.activeElement) ? document.activeElement : null,
    text = held?.value;
  parent.replaceChildren(...children);
  const heir = held?.id && $(held.id);
  if (!heir || heir === held) return;
  if (held.tagName === "INPUT") heir.value = text;
  heir.focus({ preventScroll: true });
}

export function announce(text, loud = false) {
  $("live").textContent = text;
  if (!loud) return;
  showBanner(text);
  setTimeout(() => $("banner").textContent === text && showBanner(""), 8000);
}

export const spinner = () => element("span", { className: "spinner" });

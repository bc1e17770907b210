// The page in the reader's language. The English texts, in page.html and in calls of `t`, are the keys of the tables.

import { de } from "./strings-de.js";
import { es } from "./strings-es.js";
import { fr } from "./strings-fr.js";
import { zh } from "./strings-zh.js";

export const TABLES = { zh, es, de, fr };

export const LANGUAGES = {
  en: "English",
  zh: "中文",
  es: "Español",
  de: "Deutsch",
  fr: "Français",
};

const SPOKEN = ["aria-label", "title", "placeholder"]; // attributes that hold text

let current = "en";

export const language = () => current;

/** A text in the reader's language, with {names} replaced by values. */
export const t = (text, values = {}) => fill(TABLES[current]?.[text] ?? text, values);

const fill = (text, values) => text.replaceAll(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// What the engines say, in English; the server's other messages stay as they are.
const MESSAGES = [
  "very dark: the count is likely too low; use a brighter image",
  "blurred: the count is likely too low; use a sharper image",
  "unlike the images the model knows: the count may be far off; check it",
  "heads are about {spacing} pixels apart, closer than in the images the model knows ({known}): the count is likely too low; use an image with more pixels",
  "heads are larger than in the images the model knows: at half its size this image counts {count}; count it with --scale 0.5",
  "holds several images, an animation or pages: only the first is counted; convert an animation to MP4",
  "not an image this browser can read, or it is damaged; save it as JPEG, PNG or WebP",
  "{size} is over the limit of {limit} megapixels; shrink it",
  "{size} is too large for this browser; shrink it",
  'region "{name}": its outline crosses itself; draw it without crossings',
  'region "{name}": is outside the image of {size}; draw it inside',
  "{name} cannot be loaded ({reason}); reload the page",
];

const patternOf = (message) =>
  new RegExp(`^${message.replaceAll(/[.*+?^$()|[\]\\]/g, "\\$&").replaceAll(/\{(\w+)\}/g, "(?<$1>.+?)")}$`);

/** A message of an engine in the reader's language, with the numbers that are in it. */
export function translateMessage(text) {
  for (const message of current === "en" ? [] : MESSAGES) {
    const found = patternOf(message).exec(text);
    if (found) return t(message, found.groups);
  }
  return text;
}

const originals = new WeakMap(); // the English of a text node or, by attribute, of an element

/** Put the texts of page.html into a language, "en" or a key of TABLES. */
export function translatePage(chosen) {
  current = chosen in LANGUAGES ? chosen : "en";
  document.documentElement.lang = current;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) translateText(node);
    else for (const name of SPOKEN) if (node.hasAttribute(name)) translateAttribute(node, name);
  }
}

const normal = (text) => text.trim().replaceAll(/\s+/g, " ");

function translateText(node) {
  if (node.parentElement.closest("script, style, kbd, [data-made]")) return;
  const english = originals.get(node) ?? normal(node.data);
  if (!(english in TABLES.de)) return;
  originals.set(node, english);
  node.data = ` ${t(english)} `;
}

function translateAttribute(node, name) {
  const known = originals.get(node) ?? {},
    english = known[name] ?? normal(node.getAttribute(name));
  if (!(english in TABLES.de)) return;
  originals.set(node, { ...known, [name]: english });
  node.setAttribute(name, t(english));
}

/** The language that the reader chose before, or the first of the browser's that the page knows. */
export function preferredLanguage() {
  const wanted = [localStorage.getItem("language"), ...navigator.languages].map((name) => name?.slice(0, 2));
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}

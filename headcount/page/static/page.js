// Startup, and the handlers of the page as a whole.

import { compareModels, recount } from "./counting.js";
import { $, element, replaceChildren, showBanner, stage } from "./dom.js";
import { inBrowser, openEngine } from "./engine.js";
import { addDropped, addFiles, isMedia, selectItem, setMode } from "./items.js";
import { requestDraw } from "./painting.js";
import { renderChart } from "./panel.js";
import { render } from "./render.js";
import { request } from "./server.js";
import { atRisk, newItem, state } from "./state.js";
import { LANGUAGES, preferredLanguage, t, translateMessage, translatePage } from "./translation.js";
import "./pointer.js";
import "./keys.js";
import "./actions.js";
import "./camera.js";

stage.onfocus = stage.onblur = requestDraw;

$("modes").onchange = (event) => setMode(event.target.value);

$("layers").onchange = (event) => {
  state.layer = event.target.value;
  render();
};

$("opacity").oninput = (event) => {
  state.opacity = event.target.value / 100;
  requestDraw();
};

$("wipe").oninput = (event) => {
  state.wipe = event.target.value / 100;
  requestDraw();
};

$("other").onchange = (event) => {
  state.other = event.target.value;
  if (state.other) compareModels(state.selected);
  render();
};

$("rows").ontoggle = () => state.selected?.job?.rows.length && renderChart(state.selected);

$("model").onchange = (event) => {
  // one model for all photos, otherwise the total would mean nothing
  Object.assign(state, { model: event.target.value, other: "" });
  for (const item of state.items) {
    item.other = null;
    recount(item);
  }
};

$("files").onchange = $("folder").onchange = (event) => {
  addFiles([...event.target.files].filter(({ name, webkitRelativePath: path }) => !path || isMedia(name)));
  event.target.value = "";
};

$("truth").oninput = (event) => {
  state.selected.truth = event.target.value === "" ? null : event.target.valueAsNumber;
  render();
};

document.onpaste = (event) => {
  if (state.facts && event.clipboardData.files.length) addFiles([...event.clipboardData.files]);
};

document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.toggle("dropping", [...event.dataTransfer.types].includes("Files"));
};

document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
};

document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (state.facts) addDropped(event.dataTransfer);
};

window.onbeforeunload = (event) => {
  if (state.items.some(atRisk)) event.preventDefault();
};

new ResizeObserver(requestDraw).observe(stage);

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme() {
  const theme = localStorage.getItem("theme") ?? (prefersDark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", theme === "dark");
}

prefersDark.onchange = setTheme;

$("theme").onclick = () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  setTheme();
};

function setLanguage(language) {
  translatePage(language);
  replaceChildren(
    $("language"),
    ...Object.entries(LANGUAGES).map(([value, name]) =>
      element("option", { value, selected: value === language, lang: value }, name),
    ),
  );
  $("loadingtext").textContent = t(inBrowser ? "Loading the model" : "Connecting to the server");
}

$("language").onchange = (event) => {
  localStorage.setItem("language", event.target.value);
  setLanguage(event.target.value);
  render();
};

$("keys").onclick = () => $("keysdialog").showModal();

async function openProject() {
  state.project = await request("/v1/project");
  state.items = state.project.photos.map(({ name, points }) => ({
    ...newItem("project", name, null),
    marked: points,
  }));
  selectItem(state.items.find((item) => item.marked === null) ?? state.items[0]);
}

async function start() {
  setTheme();
  setLanguage(preferredLanguage());
  if (inBrowser) $("files").accept = "image/*,.json";
  const facts = await openEngine((text) => {
    $("loadingtext").textContent = text;
  });
  Object.assign(state, { facts, model: facts.default });
  $("modelbox").hidden = facts.models.length < 2;
  replaceChildren(
    $("model"),
    ...facts.models.map(({ name }) => element("option", { value: name, selected: name === facts.default }, name)),
  );
  if (facts.project) await openProject();
  if (state.early.length) addFiles(state.early.splice(0));
  render();
}

start().catch((error) => {
  $("loading").hidden = true;
  showBanner(
    t("The page cannot start: {reason}", {
      reason: translateMessage(error.message),
    }),
  );
});

// The photos and videos in the list.

import { compareModels, countWaiting } from "./counting.js";
import { $, announce } from "./dom.js";
import { openDots } from "./dots.js";
import { fetchExample, inBrowser } from "./engine.js";
import { loadImage, loadVideo, makeThumb, releaseVideo } from "./media.js";
import { loadRegions } from "./regions.js";
import { render } from "./render.js";
import { failedWith, request, urlPath } from "./server.js";
import { newItem, state, unsaved } from "./state.js";
import { t } from "./translation.js";
import { cancelVideo } from "./videos.js";

const VIDEO_NAME = /\.(mp4|m4v|mov|webm|mkv|avi|ts|mpe?g|flv|wmv)$/i;

export function addFiles(files) {
  if (!state.facts) return void state.early.push(...files); // start() adds them once the models are known
  const added = [];
  for (const file of files) {
    if (/\.(geo)?json$/i.test(file.name)) {
      loadRegions(file);
      continue;
    }
    const video = file.type.startsWith("video/") || VIDEO_NAME.test(file.name);
    const item = newItem(video && !inBrowser ? "video" : "photo", file.name || "pasted.png", file);
    if (video && inBrowser)
      Object.assign(item, {
        state: "failed",
        permanent: true,
        error: t("videos are counted by headcount count and headcount serve"),
      });
    else if (!video) item.state = "waiting";
    added.push(item);
  }
  state.items.push(...added);
  if (added.length && (!state.selected || !state.items.includes(state.selected) || added.length === 1))
    selectItem(added[0]);
  if (state.mode === "correct" && added.length) setMode("view");
  countWaiting();
}

/** Whether a file of a folder is one that can be counted. */
export const isMedia = (name) =>
  /\.(jpe?g|jfif|png|webp|bmp|tiff?|gif|avif|hei[cf])$/i.test(name) || VIDEO_NAME.test(name);

/** Add what was dropped; folders are searched. */
export async function addDropped(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return addFiles([...data.files]);
  addFiles((await Promise.all(entries.filter(Boolean).map(filesIn))).flat());
}

async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return isMedia(entry.name) ? [file] : [];
  }
  const reader = entry.createReader(),
    found = [];
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length;)
    found.push(...some);
  const inner = await Promise.all(found.map(filesIn));
  return inner.flat().sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

export async function openExample() {
  try {
    addFiles([new File([await fetchExample()], "example.jpg", { type: "image/jpeg" })]);
  } catch (error) {
    announce(error.message, true);
  }
}

/** Fetch a photo of the project when it is first needed. */
export async function loadFile(item) {
  item.file ??= await request(`/v1/project/photos/${urlPath(item.name)}`, {
    blob: true,
    signal: item.stop.signal,
  });
}

export async function selectItem(item) {
  if (state.images.photo?.videoWidth) releaseVideo(state.images.photo);
  Object.assign(state, {
    selected: item,
    images: {},
    view: null,
    corners: null,
    dot: -1,
  });
  if (item?.kind === "project" && state.mode === "view" && item.state === "idle") setMode("correct");
  if (item?.kind === "video" && state.mode === "correct") setMode("view");
  render();
  if (!item) return;
  try {
    await loadFile(item);
    const photo = await (item.kind === "video" ? loadVideo(item.file) : loadImage(item.file));
    if (state.selected !== item) return photo?.videoWidth && releaseVideo(photo);
    state.images.photo = photo;
    if (photo && !item.thumb) await makeThumb(item, photo);
  } catch (error) {
    Object.assign(item, failedWith(error));
  }
  if (state.mode === "correct") openDots(item);
  await loadLayers(item);
  compareModels(item);
}

/** Decode the layers over the selected photo. */
export async function loadLayers(item) {
  const layers = { ...item.result?.overlay, peak: null },
    others = item.other?.result?.overlay ?? {};
  const sources = {
    density: layers.density,
    mask: layers.mask,
    otherDensity: others.density,
    otherMask: others.mask,
  };
  const images = await Promise.all(Object.values(sources).map((source) => source && loadImage(source)));
  if (state.selected === item)
    Object.keys(sources).forEach((name, i) => {
      state.images[name] = images[i];
    });
  render();
}

export function removeItem(item) {
  if (
    unsaved(item) &&
    !confirm(
      t("The dots of {name} are not saved. Remove it anyway?", {
        name: item.name,
      }),
    )
  )
    return;
  item.stop.abort();
  if (item.job && ["waiting", "running"].includes(item.job.state)) cancelVideo(item);
  const at = state.items.indexOf(item);
  state.items.splice(at, 1);
  if (state.selected === item) selectItem(state.items[at] ?? state.items[at - 1] ?? null);
  render();
}

export function selectNeighbor(by) {
  const next = state.items[state.items.indexOf(state.selected) + by];
  if (next) selectItem(next).then(() => $("list").querySelector(".chosen")?.scrollIntoView({ block: "nearest" }));
}

export function setMode(mode) {
  Object.assign(state, { mode, corners: null, dot: -1 });
  const item = state.selected;
  if (mode === "correct") openDots(item);
  else if (item?.state === "idle" && item.kind === "project") {
    item.state = "waiting";
    countWaiting();
  }
  render();
}

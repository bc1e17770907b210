// The queue of photos to count.

import { announce } from "./dom.js";
import { countItem } from "./engine.js";
import { formatPeople, megabytes } from "./format.js";
import { loadFile, loadLayers } from "./items.js";
import { makeThumb } from "./media.js";
import { render } from "./render.js";
import { Failure, failedWith } from "./server.js";
import { state } from "./state.js";
import { t } from "./translation.js";

const MAX_IN_FLIGHT = 2; // photos in progress: one is being counted, one is being sent

let inFlight = 0;

export let batch = null; // {startedAt, ended}: the photos counted since none was waiting

export const pendingCount = () =>
  state.items.filter((item) => item.kind !== "video" && ["waiting", "counting"].includes(item.state)).length;

export function countWaiting() {
  batch = pendingCount() ? (batch ?? { startedAt: performance.now(), ended: 0 }) : null;
  for (let item; inFlight < MAX_IN_FLIGHT && (item = state.items.find((one) => one.state === "waiting")); inFlight++) {
    item.state = "counting";
    countPhoto(item).finally(() => {
      inFlight--;
      if (batch && item.state !== "waiting" && state.items.includes(item)) batch.ended++;
      countWaiting();
    });
  }
  render();
}

async function countPhoto(item) {
  const regions = item.regions,
    model = state.model;
  try {
    await loadFile(item);
    checkSize(item.file, state.facts.limits.body);
    if (!item.thumb) await makeThumb(item);
    item.result = await requestCount(item, model, { overlay: true }, regions);
    Object.assign(item, { counted: regions, error: "", state: "done" });
    announce(`${item.name}: ${formatPeople(item.result.count)}`);
  } catch (error) {
    Object.assign(item, {
      ...failedWith(error),
      state: "failed",
      result: null,
    });
  }
  const outdated = item.regions !== regions || state.model !== model; // they changed meanwhile
  if (outdated) item.state = "waiting";
  if (item === state.selected) {
    await loadLayers(item);
    compareModels(item);
  }
}

export function requestCount(item, model, wanted, regions = []) {
  const say = (note) => {
    item.note = note;
    render();
  };
  return countItem(item, model, wanted, regions, say);
}

export function checkSize(file, limit) {
  if (file.size > limit)
    throw new Failure(
      t("{size} MB; this server's limit is {limit} MB", {
        size: megabytes(file.size),
        limit: megabytes(limit),
      }),
      true,
    );
}

/** Count an item again after its regions or the model changed. */
export function recount(item) {
  if (item.kind === "video" || item.state === "idle") return;
  if (item.state !== "counting") item.state = "waiting";
  countWaiting();
}

export async function compareModels(item) {
  const name = state.other;
  if (!name || !item.result || item.other?.model === name) return;
  item.other = { model: name, result: null };
  try {
    const result = await requestCount(item, name, { overlay: true });
    if (item.other?.model !== name) return;
    item.other.result = result;
  } catch (error) {
    item.other = { model: name, error: error.message };
  }
  if (item === state.selected) await loadLayers(item);
}

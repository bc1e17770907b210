// The state of the page: handlers change it and call `render`.

export const state = {
  facts: null, // GET /v1/models
  early: [], // files chosen before `facts` arrived
  model: "", // the name of the chosen model
  other: "", // the model to compare with it
  project: null, // GET /v1/project, if a folder is open
  items: [], // photos and videos, see newItem
  selected: null,
  mode: "view",
  layer: "density",
  opacity: 0.8,
  wipe: 0.5,
  images: {}, // of the selected item: photo, density, mask, otherDensity, otherMask
  view: null, // {scale, x, y}: screen = photo * scale + (x, y), CSS pixels; null: fitted
  corners: null, // of the region being drawn, photo pixels
  dot: -1, // index of the selected dot
  pointer: null, // position over the stage, screen pixels
  space: false, // whether the space bar is held
  typed: false, // whether the keyboard was used last
};

let serial = 0;

// `regions` and `dots.points` are replaced, never changed in place, so that undo and "is it saved" can compare
// references.
export function newItem(kind, name, file) {
  return {
    id: ++serial,
    kind,
    name,
    file,
    state: "idle", // or waiting, counting, done, failed
    note: "",
    error: "",
    permanent: false, // the error would come again
    result: null,
    kept: null, // the result or the rows that were last downloaded
    counted: null, // the regions of the result
    other: null,
    truth: null, // people who were really there, if the user knows
    regions: [],
    earlier: [], // regions before each change
    dots: null,
    marked: null,
    thumb: null,
    stop: new AbortController(),
    job: null,
    row: -1, // the chosen row of the job; -1: its last
  };
}

export const outcome = (item) => item.result ?? (item.job?.rows.length ? item.job.rows : null);

/** Whether closing the page would lose work on an item. */
export const atRisk = (item) =>
  unsaved(item) || (item.kind !== "project" && (item.state === "counting" || outcome(item) !== item.kept));

export const unsaved = (item) => Boolean(item.dots && item.dots.points !== item.dots.kept);

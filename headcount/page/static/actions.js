// What the buttons do: the names are those of data-do.

import { openCamera, takePhoto } from "./camera.js";
import { countWaiting } from "./counting.js";
import { $, announce } from "./dom.js";
import { deleteDot, openDots, saveDots, travelHistory } from "./dots.js";
import { countsCsv, dotsCsv, download, resultsJson, rowsCsv, savePng } from "./downloads.js";
import { baseName } from "./format.js";
import { openExample, selectNeighbor } from "./items.js";
import { closeRegion, parseRegions, setRegions, undoRegions } from "./regions.js";
import { render } from "./render.js";
import { outcome, state } from "./state.js";
import { t } from "./translation.js";
import { cancelVideo, startVideo } from "./videos.js";
import { photoSize, updateCursor, zoomBy } from "./view.js";

export const actions = {
  choose: () => $("files").click(),
  folder: () => $("folder").click(),
  example: openExample,
  camera: openCamera,
  shoot: takePhoto,
  endcamera: () => $("cameradialog").close(),
  csv: () => {
    download("counts.csv", countsCsv(), "text/csv");
    state.items.forEach((item) => {
      if (item.kind !== "video") item.kept = outcome(item);
    });
  },
  json: () => {
    download("counts.json", resultsJson(), "application/json");
    state.items.forEach((item) => {
      item.kept = outcome(item);
    });
  },
  png: () => photoSize() && savePng(state.selected),
  smaller: () => zoomBy(1 / 1.4),
  larger: () => zoomBy(1.4),
  fit: () => {
    state.view = null;
    updateCursor();
  },
  again: () => {
    const item = state.selected;
    item.error = "";
    if (state.mode === "correct") openDots(item);
    else {
      item.state = "waiting";
      countWaiting();
    }
  },
  copyregions: () => {
    const { regions, name } = state.selected;
    state.items.forEach((item) => {
      if (item.kind !== "video" && item.name !== name) setRegions(item, regions);
    });
    announce(t("These regions now apply to all photos"));
  },
  saveregions: () =>
    download("regions.json", JSON.stringify({ regions: state.selected.regions }, null, 1), "application/json"),
  corners: () => {
    const trouble = $("cornerstrouble");
    trouble.hidden = true;
    try {
      setRegions(state.selected, parseRegions($("corners").value, state.selected.regions));
    } catch (error) {
      trouble.hidden = false;
      trouble.textContent = error.message;
    }
  },
  closeregion: closeRegion,
  leaveregion: () => {
    state.corners = null;
    render();
  },
  undo: () => (state.mode === "region" ? undoRegions() : travelHistory("past", "future")),
  redo: () => travelHistory("future", "past"),
  deletedot: () => deleteDot(state.dot),
  save: () => saveDots(),
  back: () => selectNeighbor(-1),
  next: () => selectNeighbor(1),
  dotscsv: () => {
    const { name, kind, dots } = state.selected;
    if (!dots) return;
    download(`${baseName(name)}-dots.csv`, dotsCsv(state.selected), "text/csv");
    if (kind !== "project") dots.kept = dots.points;
  },
  startvideo: () => startVideo(state.selected),
  stopvideo: () => cancelVideo(state.selected),
  rowscsv: () => {
    download(`${baseName(state.selected.name)}.csv`, rowsCsv(state.selected), "text/csv");
    state.selected.kept = outcome(state.selected);
  },
};

document.addEventListener("click", (event) => actions[event.target.closest("[data-do]")?.dataset.do]?.());

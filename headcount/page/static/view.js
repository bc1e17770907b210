// Where the photo is on the stage.

import { stage } from "./dom.js";
import { sizeOf } from "./media.js";
import { requestDraw } from "./painting.js";
import { state } from "./state.js";

export function photoSize(item = state.selected) {
  if (state.images.photo) return sizeOf(state.images.photo);
  return item?.result
    ? [item.result.width, item.result.height]
    : item?.dots
      ? [item.dots.width, item.dots.height]
      : null;
}

function fittedView() {
  const [width, height] = photoSize(),
    margin = 8,
    buttons = 48; // height of the zoom buttons at the bottom
  const wide = stage.clientWidth - 2 * margin,
    tall = stage.clientHeight - 2 * margin - buttons;
  const scale = Math.min(wide / width, tall / height);
  return {
    scale,
    x: margin + (wide - width * scale) / 2,
    y: margin + (tall - height * scale) / 2,
  };
}

export const currentView = () => state.view ?? fittedView();

export const toScreen = ([x, y], at = currentView()) => [x * at.scale + at.x, y * at.scale + at.y];

export const toPhoto = ([x, y], at = currentView()) => [(x - at.x) / at.scale, (y - at.y) / at.scale];

export function zoomBy(factor, center = [stage.clientWidth / 2, stage.clientHeight / 2]) {
  if (!photoSize()) return;
  const old = currentView(),
    least = fittedView().scale,
    scale = Math.min(Math.max(old.scale * factor, least), Math.max(40, least));
  const [x, y] = toPhoto(center, old);
  state.view =
    scale <= least
      ? null
      : clampView({
          scale,
          x: center[0] - x * scale,
          y: center[1] - y * scale,
        });
  updateCursor();
}

export function panBy(dx, dy) {
  const old = currentView();
  if (state.view) state.view = clampView({ ...old, x: old.x + dx, y: old.y + dy });
  requestDraw();
}

/** The nearest view that still shows some of the photo. */
function clampView(at) {
  const [width, height] = photoSize(),
    room = (length, start, side) => Math.min(side / 2, Math.max(side / 2 - length * at.scale, start));
  return {
    ...at,
    x: room(width, at.x, stage.clientWidth),
    y: room(height, at.y, stage.clientHeight),
  };
}

export function updateCursor() {
  stage.className = state.space ? "pans" : state.mode !== "view" ? "edits" : state.view ? "pans" : "";
  requestDraw();
}

export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

// Gestures on the stage.

import { stage } from "./dom.js";
import { addDot, deleteDot, dotAt, editDots, moveDot } from "./dots.js";
import { requestDraw } from "./painting.js";
import { addCorner, closeRegion } from "./regions.js";
import { render } from "./render.js";
import { state } from "./state.js";
import { t } from "./translation.js";
import { distance, panBy, photoSize, toPhoto, updateCursor, zoomBy } from "./view.js";

export const HIT_RADIUS = { mouse: 10, pen: 14, touch: 22 }; // how near to a dot a click selects it, screen pixels

const CLICK_TOLERANCE = 4; // movement that still counts as a click, screen pixels

const fingers = new Map(); // the pointers that are down

let gesture = null; // the gesture in progress

const positionOf = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

stage.onpointerdown = (event) => {
  if (!photoSize()) return;
  const here = positionOf(event);
  state.typed = false;
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, here);
  if (fingers.size === 2) {
    endDrag();
    gesture = { kind: "pinch" };
    return;
  }
  if (event.button === 2 || fingers.size > 2) return;
  const hand = state.space || event.button === 1,
    dot = state.mode === "correct" && !hand ? dotAt(here, event.pointerType) : -1;
  gesture = {
    kind: dot >= 0 ? "dot" : "pan",
    dot,
    start: here,
    moved: false,
    clicks: !hand,
    alt: event.altKey,
    before: state.selected.dots?.points,
  };
};

stage.onpointermove = (event) => {
  const here = positionOf(event),
    last = fingers.get(event.pointerId);
  state.pointer = here;
  if (last) fingers.set(event.pointerId, here);
  if (last && gesture?.kind === "pinch") pinchBy(event.pointerId, last, here);
  else if (last && gesture && (gesture.moved ||= distance(here, gesture.start) > CLICK_TOLERANCE)) {
    if (gesture.kind === "pan") panBy(here[0] - last[0], here[1] - last[1]);
    else moveDot(gesture.dot, toPhoto(here));
  }
  if (state.corners) requestDraw();
};

stage.onpointerup = (event) => {
  const done = gesture,
    here = positionOf(event);
  fingers.delete(event.pointerId);
  if (!done || done.kind === "pinch") {
    if (!fingers.size) gesture = null;
    return;
  }
  if (done.moved) endDrag();
  else if (done.clicks) clickAt(here, done, event.pointerType);
  gesture = null;
};

stage.onpointercancel = (event) => {
  fingers.delete(event.pointerId);
  endDrag();
  gesture = null;
};

stage.onpointerleave = () => {
  state.pointer = null;
  if (state.corners) requestDraw();
};

stage.oncontextmenu = (event) => {
  // also sent for a long press
  if (state.mode !== "correct") return;
  event.preventDefault();
  gesture = null;
  deleteDot(dotAt(positionOf(event), event.pointerType));
};

stage.ondblclick = () => {
  if (state.corners) closeRegion();
  else if (state.mode === "view") {
    state.view = null;
    updateCursor();
  }
};

stage.addEventListener(
  "wheel",
  (event) => {
    if (!photoSize()) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), positionOf(event));
  },
  { passive: false },
);

function pinchBy(id, last, here) {
  const other = [...fingers].find(([one]) => one !== id)[1];
  zoomBy(distance(here, other) / Math.max(1, distance(last, other)), [
    (last[0] + other[0]) / 2,
    (last[1] + other[1]) / 2,
  ]);
  panBy((here[0] - last[0]) / 2, (here[1] - last[1]) / 2);
}

function clickAt(here, { dot, alt }, hand) {
  if (state.mode === "region") addCorner(here, HIT_RADIUS[hand] ?? HIT_RADIUS.mouse);
  if (state.mode !== "correct" || !state.selected.dots) return;
  if (dot >= 0 && alt) deleteDot(dot);
  else if (dot >= 0) {
    state.dot = dot;
    render();
  } else addDot(toPhoto(here));
}

function endDrag() {
  const dots = state.selected?.dots;
  if (gesture?.kind !== "dot" || !gesture.moved || !dots) return;
  const moved = dots.points;
  dots.points = gesture.before;
  editDots(moved, t("Dot moved"));
}

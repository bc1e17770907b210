// The keyboard.

import { actions } from "./actions.js";
import { stage } from "./dom.js";
import { addDot, nudgeDot, stepDot } from "./dots.js";
import { selectNeighbor } from "./items.js";
import { closeRegion } from "./regions.js";
import { render } from "./render.js";
import { state } from "./state.js";
import { panBy, photoSize, toPhoto, updateCursor } from "./view.js";

const STAGE_KEYS = {
  "+": actions.larger,
  "=": actions.larger,
  "-": actions.smaller,
  0: actions.fit,
  n: () => stepDot(1),
  p: () => stepDot(-1),
  Delete: actions.deletedot,
  a: () => addDot(toPhoto([stage.clientWidth / 2, stage.clientHeight / 2])),
};

const REGION_KEYS = {
  Enter: closeRegion,
  Escape: actions.leaveregion,
  Backspace: () => {
    state.corners = state.corners.length > 1 ? state.corners.slice(0, -1) : null;
    render();
  },
};

const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

document.onkeydown = (event) => {
  const { key, shiftKey } = event,
    command = event.ctrlKey || event.metaKey,
    item = state.selected;
  const typing = event.target.closest("input:not([type=radio], [type=range]), textarea, select, dialog");
  const action = command
    ? commandKey(key.toLowerCase(), shiftKey, typing)
    : typing || !item
      ? null
      : plainKey(key, shiftKey, event.target === stage);
  if (!action) return;
  event.preventDefault();
  state.typed = true;
  action();
};

function commandKey(key, shift, typing) {
  if (state.mode === "region" && !typing) return { z: actions.undo }[key];
  if (state.mode !== "correct" || typing) return null;
  return {
    z: shift ? actions.redo : actions.undo,
    y: actions.redo,
    s: actions.save,
  }[key];
}

function plainKey(key, shift, focused) {
  if (key === "PageDown" || key === "PageUp") return () => selectNeighbor(key === "PageDown" ? 1 : -1);
  if (state.corners && REGION_KEYS[key]) return REGION_KEYS[key];
  if (!focused || !photoSize()) return null;
  if (key === " ")
    return () => {
      state.space = true;
      updateCursor();
    };
  const dots = state.mode === "correct" && state.selected.dots,
    arrow = ARROWS[key],
    far = shift ? 10 : 1;
  if (arrow && dots && dots.points[state.dot]) return () => nudgeDot(arrow[0] * far, arrow[1] * far);
  if (arrow) return () => panBy(-40 * arrow[0], -40 * arrow[1]);
  if (key === "Escape" && state.dot >= 0)
    return () => {
      state.dot = -1;
      render();
    };
  if ("npaDelete".includes(key.length > 1 ? key : key.toLowerCase()) && !dots) return null;
  return dots && key === "Backspace" ? STAGE_KEYS.Delete : STAGE_KEYS[key.length > 1 ? key : key.toLowerCase()];
}

document.onkeyup = (event) => {
  if (event.key === " " && state.space) {
    state.space = false;
    updateCursor();
  }
};

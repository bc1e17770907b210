// Correcting the dots, and saving those of a project.

import { requestCount } from "./counting.js";
import { announce, stage } from "./dom.js";
import { formatDots, round } from "./format.js";
import { loadFile } from "./items.js";
import { requestDraw } from "./painting.js";
import { HIT_RADIUS } from "./pointer.js";
import { render } from "./render.js";
import { failedWith, request, urlPath } from "./server.js";
import { state } from "./state.js";
import { t } from "./translation.js";
import { currentView, distance, panBy, toScreen } from "./view.js";

export async function openDots(item) {
  if (!item || item.dots || item.kind === "video" || item.opening) return;
  item.opening = true;
  render();
  try {
    await loadFile(item);
    const told =
      item.kind === "project"
        ? await request(`/v1/project/points/${urlPath(item.name)}`, {
            signal: item.stop.signal,
          })
        : await requestCount(item, state.model, { points: true });
    const [width, height] = [told.width, told.height],
      points = told.points;
    item.dots = {
      points,
      width,
      height,
      past: [],
      future: [],
      kept: points,
      estimate: told.saved ? null : points.length,
    };
    announce(formatDots(points.length));
  } catch (error) {
    Object.assign(item, failedWith(error));
  }
  item.opening = false;
  render();
}

export function editDots(points, said, nudge = -1) {
  const dots = state.selected.dots;
  if (nudge < 0 || dots.nudge !== nudge) dots.past.push(dots.points); // successive arrow keys are one undo step
  Object.assign(dots, { points, future: [], nudge });
  announce(said);
  render();
}

function clampPoint([x, y]) {
  const { width, height } = state.selected.dots;
  return [round(Math.min(Math.max(x, 0), width - 0.01), 2), round(Math.min(Math.max(y, 0), height - 0.01), 2)];
}

export function dotAt(here, hand) {
  const points = state.selected.dots?.points ?? [],
    at = currentView();
  let best = -1,
    reach = HIT_RADIUS[hand] ?? HIT_RADIUS.mouse;
  points.forEach((point, i) => {
    const far = distance(toScreen(point, at), here);
    if (far <= reach) {
      best = i;
      reach = far;
    }
  });
  return best;
}

export function addDot(point) {
  const { points, width, height } = state.selected.dots;
  if (point[0] < 0 || point[1] < 0 || point[0] > width || point[1] > height) {
    state.dot = -1;
    return render();
  }
  state.dot = points.length;
  editDots([...points, clampPoint(point)], t("Dot added, {dots}", { dots: formatDots(points.length + 1) }));
}

export function moveDot(i, point) {
  // during a drag; endDrag makes it one undo step
  const dots = state.selected.dots;
  state.dot = i;
  dots.points = dots.points.map((one, j) => (j === i ? clampPoint(point) : one));
  requestDraw();
}

export function deleteDot(i) {
  const dots = state.selected?.dots;
  if (!dots || i < 0 || i >= dots.points.length) return;
  state.dot = -1;
  editDots(
    dots.points.filter((_, j) => j !== i),
    t("Dot deleted, {dots}", { dots: formatDots(dots.points.length - 1) }),
  );
}

export function nudgeDot(dx, dy) {
  const i = state.dot,
    [x, y] = state.selected.dots.points[i],
    moved = clampPoint([x + dx, y + dy]);
  editDots(
    state.selected.dots.points.map((one, j) => (j === i ? moved : one)),
    t("Dot at {place}", { place: moved.map(Math.round).join(", ") }),
    i,
  );
}

export function stepDot(by) {
  const count = state.selected.dots.points.length;
  if (!count) return announce(t("No dots"));
  state.dot = state.dot < 0 ? (by > 0 ? 0 : count - 1) : (state.dot + by + count) % count;
  const point = state.selected.dots.points[state.dot],
    [x, y] = toScreen(point);
  if (state.view && (x < 20 || y < 20 || x > stage.clientWidth - 20 || y > stage.clientHeight - 20))
    panBy(stage.clientWidth / 2 - x, stage.clientHeight / 2 - y);
  announce(
    t("Dot {number} of {count}, at {place}", {
      number: state.dot + 1,
      count,
      place: point.map(Math.round).join(", "),
    }),
  );
  render();
}

export function travelHistory(from, to) {
  // undo, redo
  const dots = state.selected?.dots;
  if (state.mode !== "correct" || !dots?.[from].length) return;
  dots[to].push(dots.points);
  Object.assign(dots, { points: dots[from].pop(), nudge: -1 });
  state.dot = -1;
  announce(
    t(from === "past" ? "Undone, {dots}" : "Redone, {dots}", {
      dots: formatDots(dots.points.length),
    }),
  );
  render();
}

export async function saveDots(item = state.selected) {
  if (item?.kind !== "project" || !item.dots || item.saving) return;
  const points = item.dots.points;
  item.saving = true;
  render();
  try {
    await request(`/v1/project/points/${urlPath(item.name)}`, {
      method: "PUT",
      json: { points },
    });
    Object.assign(item, { marked: points.length, error: "" });
    item.dots.kept = points;
    announce(t("Saved, {progress}", { progress: progressText() }));
  } catch (error) {
    Object.assign(item, failedWith(error));
    announce(error.message);
  }
  item.saving = false;
  render();
}

export const progressText = () => {
  const photos = state.items.filter((item) => item.kind === "project");
  return t("{saved} of {total} saved", {
    saved: photos.filter((item) => item.marked !== null).length,
    total: photos.length,
  });
};

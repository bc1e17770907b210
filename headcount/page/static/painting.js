// Painting: the photo, its layer, its regions and its dots, all on one canvas. The same functions make the PNG.
// In all of them `at` is {scale, x, y, width, height, unit}, and `unit` is the width of a thin line.

import { stage } from "./dom.js";
import { formatCount } from "./format.js";
import { regionCount } from "./regions.js";
import { state } from "./state.js";
import { t } from "./translation.js";
import { currentView, photoSize, toScreen } from "./view.js";

let drawRequest = 0;

export function requestDraw() {
  drawRequest ||= requestAnimationFrame(() => {
    drawRequest = 0;
    drawNow();
  });
}

export function drawNow() {
  const ratio = devicePixelRatio || 1,
    context = stage.getContext("2d");
  stage.width = Math.round(stage.clientWidth * ratio);
  stage.height = Math.round(stage.clientHeight * ratio);
  if (!photoSize() || !stage.clientWidth) return;
  context.scale(ratio, ratio);
  paint(context, state.selected, {
    ...currentView(),
    width: stage.clientWidth,
    height: stage.clientHeight,
    unit: 1,
  });
  if (state.mode === "correct" && state.typed && document.activeElement === stage) drawCross(context);
}

export function paint(context, item, at) {
  const [width, height] = photoSize(item),
    box = [at.x, at.y, width * at.scale, height * at.scale];
  context.imageSmoothingEnabled = at.scale < 4; // zoomed in, pixels stay sharp squares
  if (state.images.photo) context.drawImage(state.images.photo, ...box);
  else {
    context.fillStyle = "#888";
    context.fillRect(...box);
  }
  if (state.mode !== "correct") {
    paintLayers(context, at, box);
    paintRegions(context, item, at, width, height);
  } else if (item.dots) paintDots(context, item.dots, at);
  if (state.corners) paintOutline(context, state.corners, at, "#fff", false);
}

function paintLayers(context, at, box) {
  if (state.layer === "none") return;
  const first = state.images[state.layer],
    name = state.layer[0].toUpperCase() + state.layer.slice(1);
  const second = state.other && state.mode === "view" ? state.images[`other${name}`] : null;
  const edge = second ? box[0] + box[2] * state.wipe : box[0] + box[2];
  context.imageSmoothingEnabled = true;
  paintPart(context, first, box, box[0], edge);
  if (!second) return;
  paintPart(context, second, box, edge, box[0] + box[2]);
  context.fillStyle = "#fff";
  context.fillRect(edge - at.unit, box[1], 2 * at.unit, box[3]);
}

function paintPart(context, image, box, left, right) {
  if (!image) return;
  context.save();
  context.beginPath();
  context.rect(left, box[1], right - left, box[3]);
  context.clip();
  context.globalAlpha = state.opacity;
  context.drawImage(image, ...box);
  context.restore();
}

function paintRegions(context, item, at, width, height) {
  for (const region of item.regions) {
    const corners = region.polygon.map(([x, y]) => [x * width, y * height]),
      told = regionCount(item, region);
    paintOutline(context, corners, at, told?.over ? "#ff6b5e" : "#fff", true);
    const [x, y] = toScreen(centerOf(corners), at);
    paintLabel(
      context,
      told ? `${region.name}  ${formatCount(told.count)}${told.over ? `, ${t("too many")}` : ""}` : region.name,
      x,
      y,
      at.unit,
    );
  }
}

const centerOf = (corners) =>
  [0, 1].map((axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length);

function paintOutline(context, corners, at, color, closed) {
  context.beginPath();
  corners.forEach((corner, i) => context[i ? "lineTo" : "moveTo"](...toScreen(corner, at)));
  if (closed) context.closePath();
  else if (state.pointer) context.lineTo(...state.pointer);
  context.lineJoin = "round";
  for (const [tint, width] of [
    ["#14181ecc", 5],
    [color, 2],
  ]) {
    // a light line over a dark one is visible on any background
    Object.assign(context, { strokeStyle: tint, lineWidth: width * at.unit });
    context.stroke();
  }
  if (!closed) corners.forEach((corner, i) => paintDisc(context, toScreen(corner, at), i ? 4 : 6, at.unit, "#fff"));
}

export function paintLabel(context, text, x, y, unit, big = 13) {
  context.font = `600 ${big * unit}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + 14 * unit,
    tall = (big + 11) * unit;
  context.fillStyle = "#14181ee0";
  context.beginPath();
  context.roundRect(x - wide / 2, y - tall / 2, wide, tall, 6 * unit);
  context.fill();
  Object.assign(context, {
    fillStyle: "#fff",
    textBaseline: "middle",
    textAlign: "center",
  });
  context.fillText(text, x, y + unit);
}

function paintDots(context, dots, at) {
  const radius = Math.min(6, Math.max(2.6, at.scale * 3));
  dots.points.forEach((point, i) => {
    const [x, y] = toScreen(point, at);
    if (x < -9 || y < -9 || x > at.width + 9 || y > at.height + 9) return;
    if (i === state.dot) {
      paintDisc(context, [x, y], radius + 5, at.unit, "#fff");
      paintDisc(context, [x, y], radius + 2, at.unit, "#d3188c");
    } else paintDisc(context, [x, y], radius, at.unit, "#ffd23f");
  });
}

function paintDisc(context, [x, y], radius, unit, color) {
  context.beginPath();
  context.arc(x, y, radius * unit, 0, 7);
  Object.assign(context, {
    fillStyle: color,
    strokeStyle: "#14181e",
    lineWidth: 1.5 * unit,
  });
  context.fill();
  context.stroke();
}

function drawCross(context) {
  const x = stage.clientWidth / 2,
    y = stage.clientHeight / 2;
  context.beginPath();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    context.moveTo(x + 5 * dx, y + 5 * dy);
    context.lineTo(x + 15 * dx, y + 15 * dy);
  }
  for (const [tint, width] of [
    ["#14181e", 4],
    ["#fff", 1.5],
  ]) {
    Object.assign(context, { strokeStyle: tint, lineWidth: width });
    context.stroke();
  }
}

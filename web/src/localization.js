// Head positions from a density map, as many as people were counted; see headcount/inference/localization.py.

import { roundEven, sum } from "./geometry.js";

/** @import { Maps } from "./types.js" */

const REACH = 3; // cells around the strongest from which a person is taken
const BLUR = 0.7; // cells
const SIGMA = 0.5; // cells, of a head's Gaussian
const FINER = 2; // samples of the density per cell and axis
const WINDOW = 4; // samples on each side of a head that its Gaussian covers
const ROUNDS = 10; // of expectation maximization
const TINY = 1e-12;

/**
 * @param {Maps} maps
 * @param {number} stride Pixels of the image per cell.
 * @param {number} width Of the image.
 * @param {number} height Of the image.
 * @returns {number[][]} Positions x, y in pixels of the image.
 */
export function headPoints({ density, mask }, stride, width, height) {
  const people = roundEven(Math.max(sum(density.data), 0)),
    { width: w, height: h } = density;
  if (!people) return [];
  const weight = Float64Array.from(density.data, (value, i) => Math.max(value, 0) * Math.max(mask.data[i], 1e-3)),
    factor = people / sum(weight);
  for (let i = 0; i < weight.length; i++) weight[i] *= factor;
  const places = separate(refine(separate(takePeople(weight, w, h, people), 1), weight, w, h), 1 / 4);
  return places.map(([x, y]) => [toPixels(x, w, stride, width), toPixels(y, h, stride, height)]);
}

/** The cells around the strongest, nearest first: dy, dx. */
const NEAREST = Array.from({ length: (2 * REACH + 1) ** 2 }, (_, i) => [
  Math.floor(i / (2 * REACH + 1)) - REACH,
  (i % (2 * REACH + 1)) - REACH,
]).sort(([ay, ax], [by, bx]) => ay * ay + ax * ax - by * by - bx * bx);

/** The 3 x 3 Gaussian, by the distance on each axis. */
const TAPS = (() => {
  const side = Math.exp(-1 / (2 * BLUR * BLUR)),
    total = 1 + 2 * side;
  return [1 / total, side / total];
})();

/**
 * Take one person's worth of density at a time, each from the cells nearest to the strongest place that remains.
 * @param {Float64Array} weight
 * @param {number} w
 * @param {number} h
 * @param {number} people
 */
function takePeople(weight, w, h, people) {
  const left = weight.slice(),
    blurred = new Float64Array(w * h),
    best = new Int32Array(h), // the column of the strongest cell in each row
    places = [];
  /** @type {(x: number, y: number, amount: number) => void} */
  const spread = (x, y, amount) => {
    for (let dy = -1; dy <= 1; dy++)
      for (let dx = -1; dx <= 1; dx++) {
        const [v, u] = [y + dy, x + dx];
        if (v >= 0 && v < h && u >= 0 && u < w) blurred[v * w + u] += amount * TAPS[Math.abs(dx)] * TAPS[Math.abs(dy)];
      }
  };
  /** @param {number} y */
  const searchRow = (y) => {
    let found = 0;
    for (let x = 1; x < w; x++) if (blurred[y * w + x] > blurred[y * w + found]) found = x;
    best[y] = found;
  };
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) spread(x, y, left[y * w + x]);
  for (let y = 0; y < h; y++) searchRow(y);
  for (let number = 0; number < people; number++) {
    let y = 0;
    for (let row = 1; row < h; row++) if (blurred[row * w + best[row]] > blurred[y * w + best[y]]) y = row;
    const x = best[y];
    let taken = 0,
      shiftX = 0,
      shiftY = 0;
    for (const [dy, dx] of NEAREST) {
      const [v, u] = [y + dy, x + dx];
      if (taken >= 1) break;
      if (v < 0 || v >= h || u < 0 || u >= w) continue;
      const part = Math.min(left[v * w + u], 1 - taken);
      if (!part) continue;
      taken += part;
      shiftX += dx * part;
      shiftY += dy * part;
      left[v * w + u] -= part;
      spread(u, v, -part);
    }
    for (let row = Math.max(y - REACH - 1, 0); row < Math.min(y + REACH + 2, h); row++) searchRow(row);
    places.push([x + 0.5 + shiftX / Math.max(taken, TINY), y + 0.5 + shiftY / Math.max(taken, TINY)]);
  }
  return places;
}

/**
 * Move positions that share a square apart, by less than a quarter of a cell.
 * @param {number[][]} places
 * @param {number} square
 */
function separate(places, square) {
  /** @type {Map<string, number>} */
  const sizes = new Map();
  return places.map((place) => {
    const key = place.map((value) => Math.floor(value / square + 0.37)).join(),
      rank = sizes.get(key) ?? 0;
    sizes.set(key, rank + 1);
    const offset = [0.7548776662, 0.569840291].map((step) => 0.48 * (((rank * step + 0.5) % 1) - 0.5));
    return [place[0] + offset[0], place[1] + offset[1]];
  });
}

/**
 * Move positions by expectation maximization: each cell is shared among the Gaussians there.
 * @param {number[][]} places
 * @param {Float64Array} weight
 * @param {number} w
 * @param {number} h
 */
function refine(places, weight, w, h) {
  const width = w * FINER + 2 * WINDOW,
    height = h * FINER + 2 * WINDOW,
    side = 2 * WINDOW + 1;
  const samples = new Float64Array(width * height),
    total = new Float64Array(width * height);
  for (let y = 0; y < h * FINER; y++)
    for (let x = 0; x < w * FINER; x++)
      samples[(y + WINDOW) * width + x + WINDOW] = weight[Math.floor(y / FINER) * w + Math.floor(x / FINER)];
  let moved = places.map((place) => place.map((value) => value * FINER + WINDOW));
  const shares = new Float64Array(side * side);
  /** The Gaussian of a position over its window. @param {number[]} place */
  const fill = ([px, py]) => {
    const x0 = Math.floor(px) - WINDOW,
      y0 = Math.floor(py) - WINDOW;
    const gaussian = [px - x0, py - y0].map((center) =>
      Array.from({ length: side }, (_, i) => Math.exp(-0.5 * ((i + 0.5 - center) / (SIGMA * FINER)) ** 2)),
    );
    for (let v = 0; v < side; v++)
      for (let u = 0; u < side; u++) shares[v * side + u] = gaussian[1][v] * gaussian[0][u];
    return [x0, y0];
  };
  for (let round = 0; round < ROUNDS; round++) {
    total.fill(0);
    for (const place of moved) {
      const [x0, y0] = fill(place);
      for (let v = 0; v < side; v++)
        for (let u = 0; u < side; u++) total[(y0 + v) * width + x0 + u] += shares[v * side + u];
    }
    moved = moved.map((place) => {
      const [x0, y0] = fill(place);
      let mass = 0,
        sumX = 0,
        sumY = 0;
      for (let v = 0; v < side; v++)
        for (let u = 0; u < side; u++) {
          const at = (y0 + v) * width + x0 + u,
            share = (shares[v * side + u] * samples[at]) / Math.max(total[at], TINY);
          mass += share;
          sumX += share * (x0 + u);
          sumY += share * (y0 + v);
        }
      return mass > TINY ? [sumX / mass + 0.5, sumY / mass + 0.5] : place;
    });
  }
  return moved.map((place) => place.map((value) => (value - WINDOW) / FINER));
}

/**
 * A position on one axis from cells to pixels; only the part of the last cell inside the image counts.
 * @param {number} place
 * @param {number} cells
 * @param {number} stride
 * @param {number} side
 */
function toPixels(place, cells, stride, side) {
  const last = (cells - 1) * stride,
    end = Math.max(side, last);
  const pixels = place < cells - 1 ? place * stride : last + (Math.min(place, cells) - (cells - 1)) * (end - last);
  return Math.min(Math.max(pixels, 0), side * (1 - 2 ** -24));
}

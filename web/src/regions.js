// People in polygons, divided by exact area; see headcount/regions/counting.py.

/** @import { Cells, Region, RegionCount } from "./types.js" */
/** @typedef {number[][]} Polygon */

/**
 * @param {Region[]} regions
 * @param {Cells} density
 * @param {number} stride Pixels of the image per cell.
 * @param {number} width Of the image.
 * @param {number} height Of the image.
 * @returns {RegionCount[]}
 */
export function countRegions(regions, density, stride, width, height) {
  return regions.map((region) => {
    const polygon = outline(region, width, height),
      count = people(polygon, density, stride, width, height),
      { area = null, max = null } = region;
    const perSquareMetre = area === null ? null : count / area;
    return { name: region.name, count, area, per_square_metre: perSquareMetre, max, over: max !== null && count > max };
  });
}

/**
 * The corners of a region in pixels. Throws if it crosses itself or is outside the image.
 * @param {Region} region
 * @param {number} width
 * @param {number} height
 */
function outline({ name, polygon, units }, width, height) {
  const [x, y] = units === "fractions" ? [width, height] : [1, 1],
    corners = polygon.map((corner) => [corner[0] * x, corner[1] * y]);
  if (crossesItself(corners))
    throw new Error(`region "${name}": its outline crosses itself; draw it without crossings`);
  if (!(areaOf(clip(clip(corners, 0, 0, width), 1, 0, height)) > 0))
    throw new Error(`region "${name}": is outside the image of ${width}x${height}; draw it inside`);
  return corners;
}

/**
 * @param {Polygon} polygon
 * @param {Cells} density
 * @param {number} stride
 * @param {number} width
 * @param {number} height
 */
function people(polygon, density, stride, width, height) {
  let total = 0;
  for (let row = 0; row < density.height; row++) {
    const top = row * stride,
      bottom = Math.min(top + stride, height),
      strip = clip(polygon, 1, top, bottom);
    if (!strip.length || bottom <= top) continue;
    for (let column = 0; column < density.width; column++) {
      const left = column * stride,
        right = Math.min(left + stride, width),
        value = density.data[row * density.width + column];
      if (right <= left || !value) continue;
      total += (value * areaOf(clip(strip, 0, left, right))) / ((right - left) * (bottom - top));
    }
  }
  return total;
}

/**
 * The part of a polygon between two values on one axis, by Sutherland and Hodgman.
 * @param {Polygon} polygon
 * @param {number} axis
 * @param {number} low
 * @param {number} high
 */
function clip(polygon, axis, low, high) {
  return keepSide(keepSide(polygon, axis, low, 1), axis, high, -1);
}

/**
 * @param {Polygon} polygon
 * @param {number} axis
 * @param {number} border
 * @param {number} sign 1 keeps what is above the border, -1 what is below.
 */
function keepSide(polygon, axis, border, sign) {
  const kept = [];
  for (let i = 0; i < polygon.length; i++) {
    const a = polygon[i],
      b = polygon[(i + 1) % polygon.length];
    const fromA = sign * (a[axis] - border),
      fromB = sign * (b[axis] - border);
    if (fromA >= 0) kept.push(a);
    if (fromA >= 0 === fromB >= 0) continue;
    const share = fromA / (fromA - fromB);
    kept.push([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]);
  }
  return kept;
}

/** @param {Polygon} polygon */
const areaOf = (polygon) =>
  Math.abs(polygon.reduce((sum, [x, y], i) => sum + cross([x, y], polygon[(i + 1) % polygon.length]), 0)) / 2;

/**
 * @param {number[]} a
 * @param {number[]} b
 */
const cross = (a, b) => a[0] * b[1] - a[1] * b[0];

/** @param {Polygon} corners */
function crossesItself(corners) {
  const n = corners.length;
  for (let i = 0; i < n; i++)
    for (let j = i + 2; j < n; j++)
      if ((j + 1) % n !== i && meet(corners[i], corners[(i + 1) % n], corners[j], corners[(j + 1) % n])) return true;
  return false;
}

/**
 * Whether two edges cross.
 * @param {number[]} a
 * @param {number[]} b
 * @param {number[]} c
 * @param {number[]} d
 */
function meet(a, b, c, d) {
  /** @type {(p: number[], q: number[], r: number[]) => number} */
  const side = (p, q, r) => Math.sign(cross([q[0] - p[0], q[1] - p[1]], [r[0] - p[0], r[1] - p[1]]));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}

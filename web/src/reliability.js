// How far a count can be trusted; see headcount/inference/reliability.py.

import { blur } from "./geometry.js";

/** @import { Cells, Meta } from "./types.js" */

export const LARGE_HEAD_SPACING = 30;
const OVERCOUNT_RATIO = 1.5;

/**
 * The interval around a count that should contain the true count; nulls for an empty calibration.
 * @param {number} count
 * @param {Record<string, number>} calibration
 * @returns {[number, number] | [null, null]}
 */
export function interval(count, { offset, low, high }) {
  if (offset === undefined) return [null, null];
  const people = Math.max(count, 0) + offset;
  return [Math.min(Math.max(0, low * people - offset), count), Math.max(high * people - offset, count)];
}

/**
 * Pixels between neighboring heads around the median person; NaN if there is nobody.
 * @param {Cells} density
 * @param {number} stride
 */
export function headSpacing(density, stride) {
  const { width, height } = density,
    people = density.data.map((value) => Math.max(value, 0));
  const crowd = blur({ data: people, width, height }, 1.5).data;
  const order = Array.from(crowd.keys()).sort((a, b) => crowd[b] - crowd[a]);
  let total = 0;
  for (const cell of order) total += people[cell];
  if (!(total >= 1)) return NaN;
  let half = total / 2,
    i = 0;
  while (i < order.length - 1 && (half -= people[order[i]]) > 0) i++;
  return stride / Math.sqrt(Math.max(crowd[order[i]], 1e-6));
}

/**
 * A warning if heads are closer together than in the images that the model was calibrated on.
 * @param {Cells} density
 * @param {number} stride Pixels of the image per cell.
 * @param {Meta} meta
 */
export function smallerThanKnown(density, stride, meta) {
  const spacing = headSpacing(density, stride);
  if (!(spacing < meta.spacing)) return null;
  return (
    `heads are about ${spacing.toFixed(0)} pixels apart, closer than in the images the model knows` +
    ` (${meta.spacing.toFixed(0)}): the count is likely too low; use an image with more pixels`
  );
}

/**
 * A warning if far fewer people are counted at half the size.
 * @param {number} full
 * @param {number} half
 */
export function largerThanKnown(full, half) {
  if (full <= OVERCOUNT_RATIO * half + 2) return null;
  return (
    `heads are larger than in the images the model knows: at half its size this image counts ${half.toFixed(0)};` +
    " count it with --scale 0.5"
  );
}

// How far a count can be trusted; see headcount/inference/reliability.py.

import { blur } from "./geometry.js";

/** @import { Cells, Maps, Meta, Pixels } from "./types.js" */

export const LARGE_HEAD_SPACING = 30;
const OVERCOUNT_RATIO = 1.5;
const UNCERTAINTY = [0.5, 3];

/**
 * The expected error of an image relative to that of a typical image; 1 for a model without uncertainty.
 * @param {Maps} maps
 */
export function relativeUncertainty({ mask, uncertainty }) {
  if (!uncertainty) return 1;
  let weighted = 0,
    people = 0;
  mask.data.forEach((probability, i) => {
    weighted += probability * uncertainty.data[i];
    people += probability;
  });
  return Math.min(Math.max(Math.exp(weighted / (1 + people)), UNCERTAINTY[0]), UNCERTAINTY[1]);
}

/**
 * The interval around a count that should contain the true count; nulls for an empty calibration.
 * @param {number} count
 * @param {Record<string, number>} calibration
 * @param {number} uncertainty Of the image.
 * @returns {[number, number] | [null, null]}
 */
export function interval(count, { offset, low, high }, uncertainty = 1) {
  if (offset === undefined) return [null, null];
  const people = Math.max(count, 0) + offset,
    from = low ** uncertainty * people - offset,
    to = high ** uncertainty * people - offset;
  return [Math.min(Math.max(0, from), count), Math.max(to, count)];
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

/**
 * The mean value of an image, 0 to 255, from every eighth row and column.
 * @param {Pixels} image
 */
function brightness({ data, width, height, channels }) {
  let total = 0,
    count = 0;
  for (let y = 0; y < height; y += 8)
    for (let x = 0; x < width; x += 8, count += 3) {
      const at = (y * width + x) * channels;
      total += data[at] + data[at + 1] + data[at + 2];
    }
  return total / count;
}

/**
 * The mean absolute difference of neighboring pixels in percent of the contrast, from every eighth row.
 * @param {Pixels} image
 */
function sharpness({ data, width, height, channels }) {
  let values = 0,
    squares = 0,
    steps = 0;
  const rows = Math.ceil(height / 8);
  for (let y = 0; y < height; y += 8)
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * channels + 1;
      values += data[at];
      squares += data[at] ** 2;
      if (x) steps += Math.abs(data[at] - data[at - channels]);
    }
  const count = rows * width,
    contrast = Math.sqrt(Math.max(squares / count - (values / count) ** 2, 0));
  return contrast > 1 ? (100 * steps) / (rows * (width - 1)) / contrast : 100;
}

/**
 * A warning if an image is unlike those that the model was calibrated on.
 * @param {Pixels} image As the model saw it.
 * @param {number} uncertainty
 * @param {Meta} meta
 */
export function unfamiliar(image, uncertainty, { limits }) {
  if (limits?.brightness === undefined) return null;
  if (brightness(image) < limits.brightness) return "very dark: the count is likely too low; use a brighter image";
  if (sharpness(image) < limits.sharpness) return "blurred: the count is likely too low; use a sharper image";
  if (uncertainty > limits.uncertainty) return "unlike the images the model knows: the count may be far off; check it";
  return null;
}

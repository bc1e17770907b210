// The scale at which a large photo is counted; see headcount/inference/scale.py.

import { MIN_SCALE } from "./geometry.js";

const ORDINARY = 1_500_000;
const FIRST = 700_000;
const STEP = 2;
const WHOLE = 0.71;
const MORE = 1.1;
const ONE_MORE = 1;

/**
 * The scales at which an image may be counted, in the order in which they are tried.
 * @param {number} height
 * @param {number} width
 */
export function scales(height, width) {
  const pixels = height * width,
    tried = [];
  if (pixels <= ORDINARY) return [1];
  for (let scale = Math.max(Math.sqrt(FIRST / pixels), MIN_SCALE); scale < WHOLE; scale *= STEP) tried.push(scale);
  return [...tried, 1];
}

/**
 * Whether the count at a finer scale is clearly higher.
 * @param {number} people
 * @param {number} finer
 */
export const findsMore = (people, finer) => finer > MORE * people + ONE_MORE;

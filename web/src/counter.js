// An image of any size to a result, by the rules of headcount/inference/counter.py.

import { enlargement, resize, sum } from "./geometry.js";
import { drawLayers } from "./heatmap.js";
import { headPoints } from "./localization.js";
import { countRegions } from "./regions.js";
import {
  headSpacing,
  interval,
  LARGE_HEAD_SPACING,
  largerThanKnown,
  relativeUncertainty,
  smallerThanKnown,
  unfamiliar,
} from "./reliability.js";
import { findsMore, scales } from "./scale.js";
import { countTiled } from "./tiling.js";

/** @import { CountOptions, CountResult, Maps, Meta, OnProgress, Pixels } from "./types.js" */
/** @import { Run } from "./tiling.js" */

/**
 * @param {Run} run Counts one window.
 * @param {Meta} meta Of the model.
 * @param {Pixels} image
 * @param {CountOptions} options
 * @param {OnProgress} onProgress
 * @returns {Promise<CountResult>}
 */
export async function countImage(run, meta, image, { regions = [], overlay = false, points = true }, onProgress) {
  const began = performance.now(),
    { width, height } = image;
  /** @param {Pixels} input */
  const inWindows = (input) => countTiled(run, meta, input, onProgress);
  const { input, maps, scale } = await atBestScale(inWindows, meta, image);
  const stride = (meta.stride * width) / input.width, // pixels of the image per cell
    count = sum(maps.density.data),
    uncertainty = relativeUncertainty(maps),
    [low, high] = interval(count, meta.interval, uncertainty);
  const warning =
    smallerThanKnown(maps.density, stride, meta) ??
    (await checkLarge(inWindows, meta, input, maps)) ??
    unfamiliar(input, uncertainty, meta);
  const seconds = (performance.now() - began) / 1000;
  return {
    count,
    low,
    high,
    density: maps.density,
    mask: maps.mask,
    uncertainty,
    warnings: warning ? [warning] : [],
    points: points ? headPoints(maps, stride, width, height) : [],
    width,
    height,
    stride,
    scale,
    seconds,
    model: meta.name,
    unit: meta.unit,
    regions: countRegions(regions, maps.density, stride, width, height),
    ...(overlay ? { overlay: await drawLayers(maps, stride, width, height) } : {}),
  };
}

/** @typedef {(input: Pixels) => Promise<Maps>} InWindows */

/**
 * Count a large photo shrunk first, then finer, as long as that finds clearly more people.
 * @param {InWindows} inWindows
 * @param {Meta} meta
 * @param {Pixels} image
 */
async function atBestScale(inWindows, meta, image) {
  /** @param {number} scale */
  const countAt = async (scale) => {
    const resized = resize(image, scale),
      input = resize(resized, enlargement(resized.height, resized.width, meta.min_side));
    return { input, maps: await inWindows(input), scale };
  };
  const [first, ...finer] = scales(image.height, image.width);
  let best = await countAt(first);
  for (const scale of finer) {
    const next = await countAt(scale);
    if (!findsMore(sum(best.maps.density.data), sum(next.maps.density.data))) break;
    best = next;
  }
  return best;
}

/**
 * A warning if parts of large heads were counted as people.
 * @param {InWindows} inWindows
 * @param {Meta} meta
 * @param {Pixels} input
 * @param {Maps} maps
 */
async function checkLarge(inWindows, meta, input, { density }) {
  if (!meta.spacing || !(headSpacing(density, meta.stride) > LARGE_HEAD_SPACING)) return null;
  const half = await inWindows(resize(input, 0.5));
  return largerThanKnown(sum(density.data), sum(half.density.data));
}

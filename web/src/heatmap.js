// Density and mask as transparent images; see headcount/visualization/heatmap.py and headcount/server/rendering.py.

import { blur, resizeCells, roundEven, sum } from "./geometry.js";

/** @import { Cells, Layers, Maps } from "./types.js" */

const MAX_LAYER_SIDE = 1000;
const PATCH = 10_000; // the legend's unit of area: 100 x 100 pixels
const LOWEST_PEAK = 1 / 9;
const OPACITY = 0.82;
const MASK_COLOR = [124, 58, 237];
// Inferno without its black end: 200 colors, three bytes each.
const COLORS = Uint8Array.from(
  atob(
    "SgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRuZBVuZRVuZxZuaRZuahdubBhubRhubxlucRluchpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJqiiJqjCNpjSNpjyRpkCVokiVokyZnlSZnlydmmCdmmihlmylknSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBcsDFbsTJaszJatDNZtjRYtzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxOxj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF0kZE00dD1EhC1UpB10s/2Ew+2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww5l0v514u6GAt6WEr6mMq62Qp62Yo7Gcm7Wkl7mok72wj724h8G8g8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO+IkM+YsL+YwK+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl8upp8ext8e1x8e918fF58vJ98vSC8/WG8/aK9PiO9fmS9vqW+Pua+fyd+v2h/P+k",
  ),
  (letter) => letter.charCodeAt(0),
);

/**
 * @param {Maps} maps
 * @param {number} stride Pixels of the image per cell.
 * @param {number} width Of the image.
 * @param {number} height Of the image.
 * @returns {Promise<Layers>}
 */
export async function drawLayers({ density, mask }, stride, width, height) {
  const shrink = Math.min(1, MAX_LAYER_SIDE / Math.max(height, width)),
    size = { width: Math.max(1, roundEven(width * shrink)), height: Math.max(1, roundEven(height * shrink)) },
    layerStride = (stride * size.width) / width;
  const crowding = peoplePerPatch(density, size, layerStride, (size.width * size.height) / (width * height)),
    peak = peakOf(crowding.data);
  const tint = new Uint8ClampedArray(crowding.data.length * 4);
  crowding.data.forEach((value, i) => {
    const level = Math.min(Math.max(value / peak, 0), 1),
      color = Math.floor(199 * level) * 3;
    const alpha = OPACITY * Math.min(Math.max((level - 0.03) / 0.45, 0), 1) ** 0.7;
    tint.set([COLORS[color], COLORS[color + 1], COLORS[color + 2], Math.floor(alpha * 255)], i * 4);
  });
  const violet = new Uint8ClampedArray(tint.length);
  fit(mask, size, layerStride, true).data.forEach((value, i) =>
    violet.set([...MASK_COLOR, Math.floor(Math.min(Math.max(value, 0), 1) * 200)], i * 4),
  );
  return { density: await png(tint, size), mask: await png(violet, size), peak: Math.round(peak * 1000) / 1000 };
}

/** @typedef {{width: number, height: number}} Size */

/**
 * @param {Cells} density
 * @param {Size} size
 * @param {number} stride
 * @param {number} area Pixels of the layer per pixel of the image.
 */
function peoplePerPatch(density, size, stride, area) {
  const full = fit(density, size, stride, false),
    mass = sum(full.data),
    factor = mass ? (sum(density.data) / mass) * PATCH * area : 0;
  full.data.forEach((value, i) => {
    full.data[i] = Math.max(value * factor, 0);
  });
  return blur(full, Math.max(0.5, Math.min(size.width, size.height) / 110));
}

/**
 * A map resampled to a layer, whose last cells may extend past the layer.
 * @param {Cells} map
 * @param {Size} size
 * @param {number} stride Pixels of the layer per cell.
 * @param {boolean} extend Whether what the map does not cover repeats its edge; zero otherwise.
 */
function fit(map, size, stride, extend) {
  const full = resizeCells(
      map,
      Math.max(1, roundEven(map.width * stride)),
      Math.max(1, roundEven(map.height * stride)),
    ),
    data = new Float32Array(size.width * size.height);
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++) {
      const inside = x < full.width && y < full.height;
      if (inside || extend)
        data[y * size.width + x] = full.data[Math.min(y, full.height - 1) * full.width + Math.min(x, full.width - 1)];
    }
  return { data, ...size };
}

/** The crowding that gets the brightest color. @param {Float32Array} crowding */
function peakOf(crowding) {
  const most = crowding.reduce((a, b) => Math.max(a, b), 0),
    busy = crowding.filter((value) => value > 0.02 * most).sort();
  if (!busy.length) return LOWEST_PEAK;
  const at = 0.99 * (busy.length - 1),
    low = Math.floor(at);
  return Math.max(busy[low] + (at - low) * ((busy[low + 1] ?? busy[low]) - busy[low]), LOWEST_PEAK);
}

/**
 * @param {Uint8ClampedArray<ArrayBuffer>} rgba
 * @param {Size} size
 */
function png(rgba, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(
    new ImageData(rgba, width, height),
    0,
    0,
  );
  return canvas.convertToBlob();
}

// Running an image of any size in bounded memory; see headcount/inference/tiling.py.

/** @import { Maps, Meta, OnProgress, Pixels } from "./types.js" */

const BUCKET = 64;
const MAX_HALO = 256;
export const MAX_TILE = 1_900_000; // pixels of a window at most; the runtime takes about 400 bytes for each

/** @typedef {{start: number, end: number, first: number, last: number}} Window */
/** @typedef {(pixels: Uint8Array, height: number, width: number) => Promise<{density: Float32Array, mask: Float32Array, uncertainty?: Float32Array}>} Run */

/**
 * Count an image in windows.
 * @param {Run} run Counts one window.
 * @param {Meta} meta
 * @param {Pixels} image
 * @param {OnProgress} onProgress
 * @returns {Promise<Maps>}
 */
export async function countTiled(run, meta, image, onProgress) {
  const { stride, pad } = meta,
    step = meta.padding_color.length ? lcm(BUCKET, pad) : 1;
  const height = Math.ceil(image.height / step) * step,
    width = Math.ceil(image.width / step) * step;
  const [rows, columns] = plan(height, width, MAX_TILE, pad, Math.min(meta.halo, MAX_HALO));
  const h = Math.ceil(image.height / stride),
    w = Math.ceil(image.width / stride);
  const density = new Float32Array(h * w),
    mask = new Float32Array(h * w),
    uncertainty = new Float32Array(h * w);
  let unsure = false;
  let done = 0;
  for (const row of rows)
    for (const column of columns) {
      onProgress(done++, rows.length * columns.length);
      const part = await run(
        cut(image, row, column, meta.padding_color),
        row.end - row.start,
        column.end - column.start,
      );
      unsure = Boolean(part.uncertainty);
      const partWidth = Math.ceil((column.end - column.start) / stride);
      const x0 = column.first / stride,
        x1 = Math.min(Math.ceil(column.last / stride), w);
      for (let y = row.first / stride; y < Math.min(Math.ceil(row.last / stride), h); y++) {
        const from = (y - row.start / stride) * partWidth - column.start / stride;
        density.set(part.density.subarray(from + x0, from + x1), y * w + x0);
        mask.set(part.mask.subarray(from + x0, from + x1), y * w + x0);
        if (part.uncertainty) uncertainty.set(part.uncertainty.subarray(from + x0, from + x1), y * w + x0);
      }
    }
  /** @param {Float32Array} data */
  const cells = (data) => ({ data, width: w, height: h });
  return { density: cells(density), mask: cells(mask), ...(unsure ? { uncertainty: cells(uncertainty) } : {}) };
}

/**
 * A window of an image as RGB, `blank` beyond its lower and right borders.
 * @param {Pixels} image
 * @param {Window} row
 * @param {Window} column
 * @param {number[]} blank
 */
function cut(image, row, column, blank) {
  const height = row.end - row.start,
    width = column.end - column.start,
    part = new Uint8Array(height * width * 3);
  const { data, channels } = image;
  const inRows = Math.min(height, image.height - row.start),
    inColumns = Math.min(width, image.width - column.start);
  let to = 0;
  for (let y = 0; y < height; y++) {
    let from = ((row.start + y) * image.width + column.start) * channels;
    const inside = y < inRows ? inColumns : 0;
    for (let x = 0; x < inside; x++, from += channels) {
      part[to++] = data[from];
      part[to++] = data[from + 1];
      part[to++] = data[from + 2];
    }
    for (let x = inside; x < width; x++) for (const value of blank) part[to++] = value;
  }
  return part;
}

/**
 * Rows and columns of equal windows with the fewest pixels in total.
 * @param {number} height
 * @param {number} width
 * @param {number} maxTile
 * @param {number} pad
 * @param {number} halo
 * @returns {[Window[], Window[]]}
 */
export function plan(height, width, maxTile, pad, halo) {
  halo = Math.ceil(halo / pad) * pad;
  const least = Math.max(pad, halo);
  /** @param {number} length */
  const options = (length) => {
    const found = [];
    for (let n = 1; n <= Math.max(Math.floor(length / least), 1); n++) {
      const size = windowSize(length, n, pad, halo);
      if (n === 1 || size - 2 * halo >= least) found.push({ n, size });
    }
    return found;
  };
  const grids = options(height).flatMap((row) => options(width).map((column) => ({ row, column })));
  /** @param {typeof grids[0]} grid */
  const tile = ({ row, column }) => row.size * column.size;
  /** @param {typeof grids[0]} grid */
  const total = (grid) => tile(grid) * grid.row.n * grid.column.n;
  const fitting = grids.filter((grid) => tile(grid) <= maxTile),
    cost = fitting.length ? total : tile;
  const best = (fitting.length ? fitting : grids).reduce((a, b) => (cost(b) < cost(a) ? b : a));
  return [split(height, best.row.n, pad, halo), split(width, best.column.n, pad, halo)];
}

/**
 * Divide one axis into windows of one size, each with a halo around what it keeps.
 * @param {number} length
 * @param {number} parts
 * @param {number} pad
 * @param {number} halo
 * @returns {Window[]}
 */
function split(length, parts, pad, halo) {
  const size = windowSize(length, parts, pad, halo),
    lastStart = Math.max(Math.ceil(length / pad) * pad - size, 0);
  const starts = Array.from({ length: parts }, (_, i) => Math.min(i * (size - 2 * halo), lastStart)),
    borders = [0, ...starts.slice(1).map((start) => start + halo), length];
  return starts.map((start, i) => ({
    start,
    end: Math.min(start + size, length),
    first: borders[i],
    last: borders[i + 1],
  }));
}

/**
 * @param {number} length
 * @param {number} parts
 * @param {number} pad
 * @param {number} halo
 */
const windowSize = (length, parts, pad, halo) => Math.ceil((length + (parts - 1) * 2 * halo) / parts / pad) * pad;

/**
 * @param {number} a
 * @param {number} b
 */
function lcm(a, b) {
  let [x, y] = [a, b];
  while (y) [x, y] = [y, x % y];
  return (a / x) * b;
}

// Resizing by the rules of headcount/geometry.py and OpenCV, so that the model sees the same pixels as in Python.

/** @import { Cells, Pixels } from "./types.js" */

export const MIN_SCALE = 0.05;
const MAX_SCALE = 8;
const MAX_ENLARGED = 4_000_000;

/**
 * The scale that brings the short side to `minSide` pixels: 1 if it is longer.
 * @param {number} height
 * @param {number} width
 * @param {number} minSide
 */
export function enlargement(height, width, minSide) {
  const fits = Math.sqrt(MAX_ENLARGED / (height * width));
  return Math.max(1, Math.min(minSide / Math.min(height, width), MAX_SCALE, fits));
}

/**
 * Round half to even, as Python and OpenCV do.
 * @param {number} value
 */
export function roundEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

/**
 * @typedef {object} Taps The source samples of each target sample on one axis: those from `starts[i]` to
 *   `starts[i + 1]` in `index` and `weight`.
 * @property {Int32Array} starts
 * @property {number[]} index
 * @property {number[]} weight
 */

/**
 * OpenCV's INTER_AREA: each target pixel is the mean of what it covers.
 * @param {number} from
 * @param {number} to
 * @param {number} step Source pixels per target pixel.
 * @returns {Taps}
 */
function areaTaps(from, to, step) {
  const starts = new Int32Array(to + 1),
    index = [],
    weight = [];
  for (let i = 0; i < to; i++) {
    const begin = i * step,
      end = begin + step,
      width = Math.min(step, from - begin);
    const last = Math.min(Math.floor(end), from - 1),
      first = Math.min(Math.ceil(begin), last);
    if (first - begin > 1e-3) {
      index.push(first - 1);
      weight.push((first - begin) / width);
    }
    for (let at = first; at < last; at++) {
      index.push(at);
      weight.push(1 / width);
    }
    if (end - last > 1e-3) {
      index.push(last);
      weight.push(Math.min(end - last, 1, width) / width);
    }
    starts[i + 1] = index.length;
  }
  return { starts, index, weight };
}

/**
 * OpenCV's INTER_LINEAR.
 * @param {number} from
 * @param {number} to
 * @param {number} step Source pixels per target pixel.
 * @returns {Taps}
 */
function linearTaps(from, to, step) {
  const starts = new Int32Array(to + 1),
    index = [],
    weight = [];
  for (let i = 0; i < to; i++) {
    const at = Math.min(Math.max((i + 0.5) * step - 0.5, 0), from - 1),
      low = Math.min(Math.floor(at), Math.max(from - 2, 0));
    index.push(low, Math.min(low + 1, from - 1));
    weight.push(1 - (at - low), at - low);
    starts[i + 1] = index.length;
  }
  return { starts, index, weight };
}

/**
 * Apply taps to both axes. One source row is in memory at a time, so a photo of 48 megapixels takes little more.
 * @param {ArrayLike<number>} source
 * @param {number} width Of the source.
 * @param {number} channels Of the source.
 * @param {number} kept Channels of the target, the first ones of the source.
 * @param {Taps} columns
 * @param {Taps} rows
 * @param {Uint8ClampedArray | Float32Array} target
 * @param {number} [bias] Is added before rounding.
 */
function applyTaps(source, width, channels, kept, columns, rows, target, bias = 0) {
  const out = columns.starts.length - 1,
    down = rows.starts.length - 1;
  const line = new Float32Array(out * kept),
    sum = new Float32Array(out * kept);
  let current = -1;
  for (let y = 0; y < down; y++) {
    sum.fill(bias);
    for (let tap = rows.starts[y]; tap < rows.starts[y + 1]; tap++) {
      const row = rows.index[tap],
        share = rows.weight[tap];
      if (row !== current) {
        current = row;
        shrinkRow(source, row * width * channels, channels, kept, columns, line);
      }
      for (let i = 0; i < sum.length; i++) sum[i] += share * line[i];
    }
    target.set(sum, y * sum.length); // a clamped array rounds half to even, as OpenCV
  }
}

/**
 * @param {ArrayLike<number>} source
 * @param {number} offset
 * @param {number} channels
 * @param {number} kept
 * @param {Taps} taps
 * @param {Float32Array} line
 */
function shrinkRow(source, offset, channels, kept, { starts, index, weight }, line) {
  for (let x = 0; x < starts.length - 1; x++)
    for (let c = 0; c < kept; c++) {
      let sum = 0;
      for (let tap = starts[x]; tap < starts[x + 1]; tap++)
        sum += weight[tap] * source[offset + index[tap] * channels + c];
      line[x * kept + c] = sum;
    }
}

/**
 * OpenCV's bilinear enlargement of bytes, with its fixed-point numbers: another rounding moves counts by 1 %.
 * @param {Pixels} image
 * @param {number} width
 * @param {number} height
 * @param {number} step Source pixels per target pixel.
 */
function enlargeBytes({ data, width: from, height: tall, channels }, width, height, step) {
  const columns = fixedTaps(from, width, step),
    rows = fixedTaps(tall, height, step),
    target = new Uint8ClampedArray(width * height * 3);
  /** @type {[Int32Array, Int32Array]} */
  let lines = [new Int32Array(width * 3), new Int32Array(width * 3)];
  const held = [-1, -1];
  /** @type {(slot: number, row: number) => void} */
  const read = (slot, row) => {
    if (held[slot] === row) return;
    held[slot] = row;
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        const at = row * from * channels + c;
        lines[slot][x * 3 + c] =
          columns.left[x] * data[at + columns.low[x] * channels] +
          columns.right[x] * data[at + columns.high[x] * channels];
      }
  };
  for (let y = 0; y < height; y++) {
    if (held[1] === rows.low[y]) {
      lines = [lines[1], lines[0]];
      held.reverse();
    }
    read(0, rows.low[y]);
    read(1, rows.high[y]);
    const [above, below] = lines;
    for (let i = 0; i < width * 3; i++)
      target[y * width * 3 + i] =
        (((rows.left[y] * (above[i] >> 4)) >> 16) + ((rows.right[y] * (below[i] >> 4)) >> 16) + 2) >> 2;
  }
  return target;
}

/**
 * The two samples of each target sample on one axis, and their weights of 11 bits.
 * @param {number} from
 * @param {number} to
 * @param {number} step
 */
function fixedTaps(from, to, step) {
  const [low, high, left, right] = Array.from({ length: 4 }, () => new Int32Array(to));
  for (let i = 0; i < to; i++) {
    const at = Math.fround((i + 0.5) * step - 0.5);
    low[i] = Math.min(Math.max(Math.floor(at), 0), from - 1);
    high[i] = Math.min(low[i] + 1, from - 1);
    const share = at < 0 || low[i] === from - 1 ? 0 : Math.fround(at - low[i]);
    left[i] = roundEven(Math.fround(1 - share) * 2048);
    right[i] = roundEven(share * 2048);
  }
  return { low, high, left, right };
}

/**
 * Resize an image: by area when it shrinks, bilinear when it grows.
 * @param {Pixels} image
 * @param {number} scale Factor for both sides.
 * @returns {Pixels} RGB, or the image itself if the scale is 1.
 */
export function resize(image, scale) {
  if (scale === 1) return image;
  scale = Math.max(scale, 1 / Math.min(image.height, image.width));
  const width = Math.max(1, roundEven(image.width * scale)),
    height = Math.max(1, roundEven(image.height * scale)),
    step = 1 / scale;
  if (width === image.width && height === image.height) return image; // as OpenCV does
  if (scale > 1) return { data: enlargeBytes(image, width, height, step), width, height, channels: 3 };
  const data = new Uint8ClampedArray(width * height * 3),
    columns = areaTaps(image.width, width, step),
    rows = areaTaps(image.height, height, step);
  const bias = scale === 0.5 ? 0.01 : 0; // OpenCV rounds the mean of four pixels up
  applyTaps(image.data, image.width, image.channels, 3, columns, rows, data, bias);
  return { data, width, height, channels: 3 };
}

/**
 * Resize a map, as cv2.resize does for a target size.
 * @param {Cells} map
 * @param {number} width
 * @param {number} height
 * @returns {Cells}
 */
export function resizeCells(map, width, height) {
  const taps = height < map.height ? areaTaps : linearTaps;
  const target = new Float32Array(width * height);
  const columns = taps(map.width, width, map.width / width),
    rows = taps(map.height, height, map.height / height);
  applyTaps(map.data, map.width, 1, 1, columns, rows, target);
  return { data: target, width, height };
}

/**
 * Gaussian blur with reflected borders, as cv2.GaussianBlur chooses its size for float images.
 * @param {Cells} map
 * @param {number} sigma
 * @returns {Cells}
 */
export function blur({ data, width, height }, sigma) {
  const reach = (roundEven(sigma * 8 + 1) | 1) >> 1;
  const kernel = Float64Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const across = new Float32Array(data.length),
    both = new Float32Array(data.length);
  for (let i = 0; i < kernel.length; i++) kernel[i] /= total;
  const columns = reflected(width, reach),
    rows = reflected(height, reach);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < kernel.length; i++) sum += kernel[i] * data[y * width + columns[x + i]];
      across[y * width + x] = sum;
    }
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < kernel.length; i++) sum += kernel[i] * across[rows[y + i] * width + x];
      both[y * width + x] = sum;
    }
  return { data: both, width, height };
}

/**
 * The indices from -reach to length + reach, mirrored about the first and the last sample.
 * @param {number} length
 * @param {number} reach
 */
function reflected(length, reach) {
  const period = Math.max(2 * (length - 1), 1);
  return Int32Array.from({ length: length + 2 * reach }, (_, i) => {
    const at = (((i - reach) % period) + period) % period;
    return Math.min(at, period - at, length - 1);
  });
}

/** @param {ArrayLike<number>} values */
export function sum(values) {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}

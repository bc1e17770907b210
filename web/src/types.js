// The types of the modules here. There is no code.

/**
 * @typedef {object} Meta What a model says about itself, as headcount.inference.engines.ModelMeta.
 * @property {string} name
 * @property {string} unit
 * @property {number} stride Pixels per density cell.
 * @property {number} pad Tiles start at multiples of it.
 * @property {number} halo Pixels of context that make a tile exact.
 * @property {number} min_side Smaller images are enlarged to it.
 * @property {number} spacing Smallest known spacing of heads, 0 if unknown.
 * @property {number[]} padding_color RGB, or empty.
 * @property {Record<string, number>} limits What is unfamiliar; empty if the model was not calibrated.
 * @property {Record<string, number>} interval Empty if the model was not calibrated.
 * @property {string} version
 */

/**
 * @typedef {object} Pixels An image of 3 (RGB) or 4 (RGBA) bytes per pixel, row by row.
 * @property {Uint8Array | Uint8ClampedArray} data
 * @property {number} width
 * @property {number} height
 * @property {3 | 4} channels
 */

/**
 * @typedef {object} Cells A map of one number per cell, row by row.
 * @property {Float32Array} data
 * @property {number} width
 * @property {number} height
 */

/** @typedef {{density: Cells, mask: Cells, uncertainty?: Cells}} Maps */

/**
 * @typedef {object} Region As in a regions file of headcount.
 * @property {string} name
 * @property {number[][]} polygon Corners x, y.
 * @property {"fractions" | "pixels"} [units]
 * @property {number} [max]
 * @property {number} [area] Square metres.
 */

/**
 * @typedef {object} RegionCount
 * @property {string} name
 * @property {number} count
 * @property {number | null} area
 * @property {number | null} per_square_metre
 * @property {number | null} max
 * @property {boolean} over
 */

/** @typedef {{density: Blob, mask: Blob, peak: number}} Layers Transparent images to draw over the photo. */

/**
 * @typedef {object} CountResult What was counted in an image, as headcount.CountResult.
 * @property {number} count People.
 * @property {number | null} low Lower end of the interval; null if the model was not calibrated.
 * @property {number | null} high Upper end of the interval.
 * @property {number} uncertainty Expected error relative to that of a typical image.
 * @property {Cells} density People per cell.
 * @property {Cells} mask Probability 0..1 that people are in the cell.
 * @property {string[]} warnings How the image differs from those that the model knows, one line each.
 * @property {number[][]} points Estimated head positions, x and y in pixels of the image.
 * @property {number} width Of the image, in pixels.
 * @property {number} height Of the image, in pixels.
 * @property {number} stride Pixels of the image per cell.
 * @property {number} scale Factor by which the image was resized to be counted.
 * @property {number} seconds From the decoded image to the count.
 * @property {string} model
 * @property {string} unit
 * @property {RegionCount[]} regions
 * @property {Layers} [overlay]
 */

/**
 * @typedef {object} CountOptions
 * @property {Region[]} [regions]
 * @property {boolean} [overlay] Also give density and mask as images.
 * @property {boolean} [points] Give head positions; true unless set to false.
 */

/** @typedef {(done: number, total: number) => void} OnProgress Tiles counted, of those planned so far. */

export {};

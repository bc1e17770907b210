// The worker: it opens the model and counts one image after another.

import * as ort from "onnxruntime-web/wasm";
import { countImage } from "./counter.js";
import { decode, firstOfSeveral } from "./decoding.js";

/** @import { CountOptions, Meta, OnProgress, Pixels } from "./types.js" */

/** @typedef {{model: ArrayBuffer, runtime: ArrayBuffer, meta: Meta, threads: number}} OpenRequest */
/** @typedef {{image: Blob | ImageData, options: CountOptions}} CountRequest */

/** @type {{session: ort.InferenceSession, meta: Meta}} */
let opened;

/** @param {OpenRequest} request */
async function open({ model, runtime, meta, threads }) {
  ort.env.wasm.wasmBinary = runtime;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: ["wasm"],
    enableMemPattern: false, // photos have many sizes, and a pattern would be kept for each
    enableCpuMemArena: false,
  });
  opened = { session, meta };
}

/** @type {import("./tiling.js").Run} */
async function run(pixels, height, width) {
  const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]),
    found = await opened.session.run({ image });
  /** @param {ort.Tensor} tensor */
  const values = (tensor) => Float32Array.from(/** @type {Float32Array} */ (tensor.data));
  const maps = {
    density: values(found.density),
    mask: values(found.mask),
    ...(found.uncertainty ? { uncertainty: values(found.uncertainty) } : {}),
  };
  for (const tensor of [image, ...Object.values(found)]) tensor.dispose();
  return maps;
}

/**
 * @param {CountRequest} request
 * @param {OnProgress} onProgress
 */
async function count({ image, options }, onProgress) {
  const pixels = image instanceof Blob ? await decode(image) : onWhite(image),
    warning = image instanceof Blob ? await firstOfSeveral(image) : null;
  const result = await countImage(run, opened.meta, pixels, options, onProgress);
  return warning ? { ...result, warnings: [warning, ...result.warnings] } : result;
}

/**
 * @param {ImageData} image
 * @returns {Pixels}
 */
function onWhite({ data, width, height }) {
  const blended = data.slice();
  for (let i = 0; i < blended.length; i += 4) {
    const alpha = blended[i + 3];
    if (alpha < 255) for (let c = i; c < i + 3; c++) blended[c] = (blended[c] * alpha + 255 * (255 - alpha)) / 255;
  }
  return { data: blended, width, height, channels: 4 };
}

let last = Promise.resolve(); // one image is counted at a time

/** @param {MessageEvent<{id: number, open?: OpenRequest, count?: CountRequest}>} event */
function listen({ data: { id, ...request } }) {
  last = last.then(async () => {
    try {
      const done = request.count
        ? await count(request.count, (part, total) => self.postMessage({ id, progress: part / total }))
        : await open(/** @type {OpenRequest} */ (request.open));
      self.postMessage({ id, done });
    } catch (error) {
      self.postMessage({ id, error: error instanceof Error ? error.message : `the runtime failed: ${error}` });
    }
  });
}

// The runtime starts this file again for each of its threads.
if (!self.name.startsWith("em-pthread")) self.onmessage = listen;

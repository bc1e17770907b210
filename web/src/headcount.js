// Counting people in the visitor's browser. Nothing is sent anywhere: the model runs in a worker.

/** @import { CountOptions, CountResult, Meta } from "./types.js" */
/** @typedef {import("./types.js").CountResult} Result */

const MAX_THREADS = 4; // more gain little
const FILES = { worker: "worker.js", runtime: "runtime.wasm.gz", model: "model.onnx", meta: "model.json" };

/** @typedef {(loaded: number) => void} OnLoad Share 0..1 of the model that has been loaded. */
/** @typedef {(share: number) => void} OnProgress Share 0..1 of a photo, which rises anew for each scale. */
/** @typedef {Blob | ImageData | HTMLCanvasElement | OffscreenCanvas | ImageBitmap} Image */
/** @typedef {(name: string) => Promise<Response>} Read */

/** A model that is open in a worker. */
export class Counter {
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, onProgress: OnProgress}>} */
  #waiting = new Map();
  #serial = 0;
  #worker;

  /**
   * @param {Worker} worker
   * @param {Meta} meta
   * @param {number} threads
   */
  constructor(worker, meta, threads) {
    this.#worker = worker;
    this.meta = meta;
    this.threads = threads;
    worker.onmessage = ({ data: { id, done, error, progress } }) => {
      const call = this.#waiting.get(id);
      if (!call) return;
      if (progress !== undefined) return call.onProgress(progress);
      this.#waiting.delete(id);
      if (error === undefined) call.resolve(done);
      else call.reject(new Error(error));
    };
    worker.onerror = (event) => this.#fail(event.message || "the worker failed; reload the page");
  }

  /** @param {string} message */
  #fail(message) {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }

  /**
   * @param {object} request
   * @param {Transferable[]} [transferred]
   * @param {OnProgress} [onProgress]
   * @returns {Promise<any>}
   */
  ask(request, transferred = [], onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.#serial;
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, ...request }, transferred);
    });
  }

  /**
   * Count the people in an image.
   * @param {Image} image A file, or pixels.
   * @param {CountOptions & {onProgress?: OnProgress}} [options]
   * @returns {Promise<CountResult>}
   */
  async count(image, { onProgress, ...options } = {}) {
    const sent = image instanceof Blob || image instanceof ImageData ? image : pixelsOf(image);
    return this.ask({ count: { image: sent, options } }, [], onProgress);
  }

  /** End the worker and free its memory. */
  close() {
    this.#worker.terminate();
    this.#fail("the counter is closed");
  }
}

/**
 * Load the model and start the worker.
 * @param {object} [options]
 * @param {string | URL} [options.base] The folder of the site's files; by default that of this module.
 * @param {Read} [options.read] Gives a file of that folder in another way.
 * @param {OnLoad} [options.onLoad]
 * @returns {Promise<Counter>}
 */
export async function open({ base, read, onLoad = () => {} } = {}) {
  const from = read ?? ((name) => fetch(new URL(name, base ?? new URL(".", import.meta.url))));
  const shares = [0, 0];
  /** @param {number} i */
  const loaded = (i) => (/** @type {number} */ share) => {
    shares[i] = share;
    onLoad((shares[0] + 2 * shares[1]) / 3); // the model is twice as large
  };
  const [script, meta, runtime, model] = await Promise.all([
    checked(from, FILES.worker).then((response) => response.text()),
    checked(from, FILES.meta).then((response) => response.json()),
    checked(from, FILES.runtime)
      .then((response) => bytes(response, loaded(0)))
      .then(unzip),
    checked(from, FILES.model).then((response) => bytes(response, loaded(1))),
  ]);
  // From a blob, so that the worker obeys this page's Content-Security-Policy and may come from another site.
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS) : 1;
  const counter = new Counter(new Worker(url), meta, threads);
  await counter.ask({ open: { meta, runtime, model, threads } }, [runtime, model]);
  return counter;
}

/** @type {Promise<Counter> | undefined} */
let shared;

/**
 * Count the people in an image with a counter that all calls share. The first call loads the model.
 * @param {Image} image
 * @param {CountOptions} [options]
 * @returns {Promise<CountResult>}
 */
export async function count(image, options) {
  shared ??= open().catch((error) => {
    shared = undefined; // the next call tries again
    throw error;
  });
  return (await shared).count(image, options);
}

/**
 * @param {Read} read
 * @param {string} name
 */
async function checked(read, name) {
  const response = await read(name).catch(() => null);
  if (!response?.ok)
    throw new Error(`${name} cannot be loaded (${response?.status ?? "no connection"}); reload the page`);
  return response;
}

/**
 * The content of a response, with progress.
 * @param {Response} response
 * @param {OnLoad} onLoad
 */
async function bytes(response, onLoad) {
  const total = Number(response.headers.get("Content-Length")) || 0,
    parts = [];
  let size = 0;
  for (const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (total) onLoad(Math.min(size / total, 1));
  }
  onLoad(1);
  return new Blob(parts).arrayBuffer();
}

/** @param {ArrayBuffer} zipped Or what a server that knows the suffix .gz has unzipped already. */
async function unzip(zipped) {
  const [first, second] = new Uint8Array(zipped, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return zipped;
  return new Response(new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** @param {HTMLCanvasElement | OffscreenCanvas | ImageBitmap} image */
function pixelsOf(image) {
  const { width, height } = image,
    sheet = new OffscreenCanvas(width, height),
    context = /** @type {OffscreenCanvasRenderingContext2D} */ (sheet.getContext("2d"));
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, width, height);
}

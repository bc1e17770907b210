import type { CountOptions, CountResult, Meta } from "./types.js";
export type Result = import("./types.js").CountResult;
export type OnLoad = (loaded: number) => void;
export type OnProgress = (share: number) => void;
export type Image = Blob | ImageData | HTMLCanvasElement | OffscreenCanvas | ImageBitmap;
export type Read = (name: string) => Promise<Response>;
/** @typedef {(loaded: number) => void} OnLoad Share 0..1 of the model that has been loaded. */
/** @typedef {(share: number) => void} OnProgress Share 0..1 of a photo, which rises anew for each scale. */
/** @typedef {Blob | ImageData | HTMLCanvasElement | OffscreenCanvas | ImageBitmap} Image */
/** @typedef {(name: string) => Promise<Response>} Read */
/** A model that is open in a worker. */
export declare class Counter {
    #private;
    meta: Meta;
    threads: number;
    /**
     * @param {Worker} worker
     * @param {Meta} meta
     * @param {number} threads
     */
    constructor(worker: Worker, meta: Meta, threads: number);
    /**
     * @param {object} request
     * @param {Transferable[]} [transferred]
     * @param {OnProgress} [onProgress]
     * @returns {Promise<any>}
     */
    ask(request: object, transferred?: Transferable[], onProgress?: OnProgress): Promise<any>;
    /**
     * Count the people in an image.
     * @param {Image} image A file, or pixels.
     * @param {CountOptions & {onProgress?: OnProgress}} [options]
     * @returns {Promise<CountResult>}
     */
    count(image: Image, { onProgress, ...options }?: CountOptions & {
        onProgress?: OnProgress;
    }): Promise<CountResult>;
    /** End the worker and free its memory. */
    close(): void;
}
/**
 * Load the model and start the worker.
 * @param {object} [options]
 * @param {string | URL} [options.base] The folder of the site's files; by default that of this module.
 * @param {Read} [options.read] Gives a file of that folder in another way.
 * @param {OnLoad} [options.onLoad]
 * @returns {Promise<Counter>}
 */
export declare function open({ base, read, onLoad }?: {
    base?: string | URL;
    read?: Read;
    onLoad?: OnLoad;
}): Promise<Counter>;
/**
 * Count the people in an image with a counter that all calls share. The first call loads the model.
 * @param {Image} image
 * @param {CountOptions} [options]
 * @returns {Promise<CountResult>}
 */
export declare function count(image: Image, options?: CountOptions): Promise<CountResult>;

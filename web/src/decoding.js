// Reading photos by the rules of headcount/io/images.py: upright, without color management, on white.

/** @import { Pixels } from "./types.js" */

const MAX_PIXELS = 100_000_000; // decode to 400 MB
const SEVERAL = "holds several images, an animation or pages: only the first is counted; convert an animation to MP4";

/**
 * @param {Blob} file
 * @returns {Promise<Pixels>}
 */
export async function decode(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" }).catch(
    () => null,
  );
  if (!bitmap) throw new Error("not an image this browser can read, or it is damaged; save it as JPEG, PNG or WebP");
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new Error(`${width}x${height} is over the limit of ${MAX_PIXELS / 1e6} megapixels; shrink it`);
  }
  const canvas = new OffscreenCanvas(width, height),
    context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error(`${width}x${height} is too large for this browser; shrink it`);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  canvas.width = canvas.height = 0; // frees its memory now
  return { data, width, height, channels: 4 };
}

/**
 * A warning if an image is the first of several in its file.
 * @param {Blob} file
 */
export async function firstOfSeveral(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return holdsSeveral(bytes) ? SEVERAL : null;
}

/**
 * Whether a file is an animation: browsers read their own formats only, so these are all.
 * @param {Uint8Array} bytes
 */
function holdsSeveral(bytes) {
  /** @type {(at: number, length?: number) => string} */
  const text = (at, length = 4) => String.fromCharCode(...bytes.subarray(at, at + length));
  const view = new DataView(bytes.buffer);
  if (text(0, 3) === "GIF") return framesOfGif(bytes) > 1;
  if (text(0) === "RIFF" && text(12) === "VP8X") return (bytes[20] & 2) > 0;
  if (text(4) === "ftyp") return text(8) === "avis";
  if (text(1, 3) !== "PNG") return false;
  for (let at = 8; at + 12 <= bytes.length && text(at + 4) !== "IDAT"; at += 12 + view.getUint32(at))
    if (text(at + 4) === "acTL") return view.getUint32(at + 8) > 1;
  return false;
}

/** @param {Uint8Array} bytes */
function framesOfGif(bytes) {
  /** The bytes of a color table. @param {number} flags */
  const table = (flags) => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + table(bytes[10]),
    frames = 0;
  while (at < bytes.length && bytes[at] !== 0x3b) {
    const image = bytes[at] === 0x2c;
    frames += Number(image);
    at += image ? 11 + table(bytes[at + 9]) : 2;
    while (bytes[at]) at += bytes[at] + 1; // sub-blocks, which end with an empty one
    at++;
  }
  return frames;
}

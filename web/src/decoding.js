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
  if (!("ImageDecoder" in globalThis) || !["image/gif", "image/png", "image/webp", "image/avif"].includes(file.type))
    return null;
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type: file.type });
  try {
    await decoder.completed;
    return (decoder.tracks.selectedTrack?.frameCount ?? 1) > 1 ? SEVERAL : null;
  } catch {
    return null; // what follows the first image may be damaged
  } finally {
    decoder.close();
  }
}

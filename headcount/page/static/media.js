// Decoding of images and videos in the browser.

import { requestDraw } from "./painting.js";
import { state } from "./state.js";
import { seekFrame } from "./videos.js";

export async function loadImage(source) {
  const image = new Image(),
    url = typeof source === "string" ? source : URL.createObjectURL(source);
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  } finally {
    // this browser cannot show the format; the server still counts it
    if (url !== source) URL.revokeObjectURL(url);
  }
}

/** A paused video element at its first frame; null if this browser cannot play it. */
export function loadVideo(file) {
  const video = document.createElement("video"),
    url = URL.createObjectURL(file);
  Object.assign(video, {
    muted: true,
    playsInline: true,
    preload: "auto",
    src: url,
  });
  video.onseeked = () => {
    requestDraw();
    seekFrame(state.selected);
  }; // another row may have been chosen meanwhile
  return new Promise((done) => {
    video.onloadeddata = () => done(video);
    video.onerror = () => {
      releaseVideo(video);
      done(null);
    };
  });
}

export function releaseVideo(video) {
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
}

export async function makeThumb(item, image) {
  image ??= await loadImage(item.file);
  if (!image) return;
  const [width, height] = sizeOf(image),
    scale = Math.max(112 / width, 84 / height);
  item.thumb = Object.assign(document.createElement("canvas"), {
    width: 112,
    height: 84,
  });
  item.thumb
    .getContext("2d")
    .drawImage(image, 56 - (width * scale) / 2, 42 - (height * scale) / 2, width * scale, height * scale);
}

export const sizeOf = (image) => [image.videoWidth || image.naturalWidth, image.videoHeight || image.naturalHeight];

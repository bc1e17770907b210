// Numbers and names as text.

import { language, t } from "./translation.js";

export const megabytes = (bytes) => Number((bytes / 1e6).toPrecision(3));

export const round = (value, digits) => Number(value.toFixed(digits));

export const formatTick = (value, step) => (step < 1 ? value.toFixed(1) : formatCount(value));

export const formatClock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export const formatCount = (value) => Math.max(0, Math.round(value)).toLocaleString(language());

export const formatPeople = (value) =>
  t(Math.round(value) === 1 ? "{count} person" : "{count} people", {
    count: formatCount(value),
  });

export const formatPhotos = (count) => t(count === 1 ? "{count} photo" : "{count} photos", { count });

export const formatFrames = (count) => t(count === 1 ? "{count} frame" : "{count} frames", { count });

export const formatDots = (count) =>
  t(count === 1 ? "{count} dot" : "{count} dots", {
    count: formatCount(count),
  });

export const formatDuration = (seconds) =>
  seconds < 55
    ? t("{count} s", { count: 5 * Math.ceil(seconds / 5) })
    : t("{count} min", { count: Math.ceil(seconds / 60) });

export const baseName = (name) =>
  name
    .split("/")
    .at(-1)
    .replace(/\.[^.]*$/, "") || "photo";

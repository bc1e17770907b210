// Numbers and names as text.

export const megabytes = (bytes) => Number((bytes / 1e6).toPrecision(3));

export const round = (value, digits) => Number(value.toFixed(digits));

export const formatTick = (value, step) => (step < 1 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));

export const formatClock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export const formatCount = (value) => Math.max(0, Math.round(value)).toLocaleString("en");

export const formatPeople = (value) => `${formatCount(value)} ${Math.round(value) === 1 ? "person" : "people"}`;

export const formatDuration = (seconds) =>
  seconds < 55 ? `${5 * Math.ceil(seconds / 5)} s` : `${Math.ceil(seconds / 60)} min`;

export const baseName = (name) =>
  name
    .split("/")
    .at(-1)
    .replace(/\.[^.]*$/, "") || "photo";

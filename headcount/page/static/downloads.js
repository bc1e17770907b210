// Files that the page saves.

import { element } from "./dom.js";
import { baseName, round } from "./format.js";
import { paint, paintLabel } from "./painting.js";
import { headline } from "./panel.js";
import { state } from "./state.js";
import { photoSize } from "./view.js";

export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// A spreadsheet would run a text that begins like a formula.
const csvCell = (value) => {
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t])/, "'") : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

const toCsv = (columns, rows) =>
  [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((row) => row.map(csvCell).join(","))
    .join("\r\n") + "\r\n";

const regionCells = (row) =>
  Object.fromEntries(
    (row?.regions ?? []).flatMap((region) => [
      [`region: ${region.name}`, region.count],
      ...(region.per_square_metre == null
        ? []
        : [[`region per m2: ${region.name}`, round(region.per_square_metre, 4)]]),
    ]),
  );

const columnNames = (first, rows) => [...new Set([...first, ...rows.flatMap(Object.keys)])];

export function countsCsv() {
  const rows = state.items
    .filter((item) => item.result || item.error)
    .map((item) => {
      const { count, low, high, width, height, seconds, model, warning } = item.result ?? {};
      const truth = state.items.some((one) => one.truth !== null) ? { "true count": item.truth ?? "" } : {};
      return {
        file: item.name,
        count,
        low,
        high,
        ...truth,
        width,
        height,
        seconds,
        model,
        warning,
        error: item.error,
        ...regionCells(item.result),
      };
    });
  return toCsv(columnNames(["file"], rows), rows);
}

export function rowsCsv(item) {
  const rows = item.job.rows.map((row) => ({
    time: row.time,
    count: row.count,
    low: row.low,
    high: row.high,
    ...regionCells(row),
  }));
  return toCsv(columnNames(["time"], rows), rows);
}

export const dotsCsv = (item) =>
  toCsv(
    ["image", "x", "y"],
    item.dots.points.map(([x, y]) => ({ image: item.name, x, y })),
  );

export function resultsJson() {
  const videos = state.items
    .filter((item) => item.job)
    .map((item) => ({
      file: item.name,
      every: item.every,
      model: item.job.model,
      rows: item.job.rows,
      drawn: item.regions,
    }));
  const photos = state.items
    .filter((item) => item.kind !== "video")
    .map((item) => {
      const { overlay, ...result } = item.result ?? {};
      return {
        file: item.name,
        ...result,
        drawn: item.regions,
        true_count: item.truth ?? undefined,
        dots: item.dots?.points,
        error: item.error || undefined,
      };
    });
  return JSON.stringify({ headcount: state.facts.version, photos, videos }, null, 1);
}

export function savePng(item) {
  const [width, height] = photoSize(),
    scale = Math.min(1, 4096 / Math.max(width, height)),
    sheet = document.createElement("canvas");
  Object.assign(sheet, {
    width: Math.round(width * scale),
    height: Math.round(height * scale),
  });
  const context = sheet.getContext("2d"),
    unit = Math.max(0.5, Math.min(sheet.width, sheet.height) / 700),
    told = headline(item);
  paint(context, item, {
    scale,
    x: 0,
    y: 0,
    width: sheet.width,
    height: sheet.height,
    unit,
  });
  if (told.big) {
    const text = `${told.big} ${told.unit}`;
    context.font = `600 ${26 * unit}px system-ui, sans-serif`;
    paintLabel(context, text, context.measureText(text).width / 2 + 21 * unit, 32 * unit, unit, 26);
  }
  sheet.toBlob((blob) => download(`${baseName(item.name)}-count.png`, blob));
}

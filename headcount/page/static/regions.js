// Regions of a photo or video.

import { recount } from "./counting.js";
import { announce } from "./dom.js";
import { round } from "./format.js";
import { setMode } from "./items.js";
import { render } from "./render.js";
import { Failure } from "./server.js";
import { state } from "./state.js";
import { t } from "./translation.js";
import { distance, photoSize, toPhoto, toScreen } from "./view.js";

export function addCorner(here, reach) {
  const [width, height] = photoSize(),
    [x, y] = toPhoto(here);
  if (state.corners?.length > 2 && distance(here, toScreen(state.corners[0])) < reach) return closeRegion();
  state.corners = [...(state.corners ?? []), [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)]];
  announce(t("Corner {number}", { number: state.corners.length }));
  render();
}

export function closeRegion() {
  const [width, height] = photoSize(),
    item = state.selected;
  const corners = state.corners.filter((corner, i, all) => !i || distance(toScreen(corner), toScreen(all[i - 1])) > 3);
  if (corners.length < 3) return announce(t("A region needs at least three corners"));
  state.corners = null;
  const polygon = corners.map(([x, y]) => [round(x / width, 5), round(y / height, 5)]);
  setRegions(item, [...item.regions, { name: freeName(item.regions, t("Region")), polygon, units: "fractions" }]);
}

function freeName(regions, stem) {
  for (let i = 1; ; i++) if (!regions.some((region) => region.name === `${stem} ${i}`)) return `${stem} ${i}`;
}

export function setRegions(item, regions, earlier = [...item.earlier, item.regions]) {
  Object.assign(item, { regions, earlier, permanent: false }); // the regions may have been the fault
  recount(item);
  render();
}

export function undoRegions() {
  const { earlier } = state.selected;
  if (!earlier.length) return;
  setRegions(state.selected, earlier.at(-1), earlier.slice(0, -1));
  announce(t("Undone"));
}

export function changeRegion(item, i, change) {
  const name = change.name?.trim();
  if ("name" in change && (!name || item.regions.some((region, j) => j !== i && region.name === name))) return render();
  setRegions(
    item,
    item.regions.map((region, j) => (j === i ? { ...region, ...change, name: name ?? region.name } : region)),
  );
}

/** The count in a region; null until the region, as it now is, was counted. */
export const regionCount = (item, region) =>
  item.counted?.includes(region) ? item.result?.regions?.[item.counted.indexOf(region)] : null;

export const formatRegion = (region) =>
  `${region.name}: ${region.polygon.map((corner) => corner.map((value) => round(value, 4)).join(",")).join(" ")}`;

export function parseRegions(text, old) {
  return text
    .split("\n")
    .filter((line) => line.trim())
    .map((line) => {
      const at = line.lastIndexOf(":"),
        name = line.slice(0, at).trim();
      const polygon = line
        .slice(at + 1)
        .trim()
        .split(/\s+/)
        .map((corner) => corner.split(",").map(Number));
      const good =
        polygon.length > 2 &&
        polygon.every((corner) => corner.length === 2 && corner.every((value) => value >= 0 && value <= 1));
      if (at < 1 || !good)
        throw new Failure(
          t('"{line}": write name: x,y x,y x,y with numbers from 0 to 1', {
            line: line.slice(0, 40),
          }),
        );
      return { name, polygon, units: "fractions", ...keepNumbers(old, name) };
    });
}

const keepNumbers = (old, name) => {
  const { max, area } = old.find((region) => region.name === name) ?? {};
  return { ...(max ? { max } : {}), ...(area ? { area } : {}) };
};

export async function loadRegions(file) {
  const item = state.selected;
  try {
    if (!item) throw new Error(t("add a photo first"));
    const found = JSON.parse(await file.text()).regions,
      [width, height] = photoSize();
    setRegions(
      item,
      found.map((one) =>
        one.units === "fractions"
          ? one
          : {
              ...one,
              units: "fractions",
              ground: undefined,
              polygon: one.polygon.map(([x, y]) => [x / width, y / height]),
            },
      ),
    );
    setMode("region");
  } catch (error) {
    announce(
      t("{name}: no usable regions: {reason}", {
        name: file.name,
        reason: error.message,
      }),
      true,
    );
  }
}

// The panel beside the photo: the count and the tools of each mode.

import { chartElement, rowText } from "./chart.js";
import { $, element, icon, replaceChildren, spinner } from "./dom.js";
import { progressText } from "./dots.js";
import { formatCount, round } from "./format.js";
import { changeRegion, formatRegion, regionCount, setRegions } from "./regions.js";
import { busyText, statusText } from "./render.js";
import { state, unsaved } from "./state.js";
import { seekFrame, shownRow } from "./videos.js";

export function renderNumber(item) {
  const told = headline(item);
  $("big").hidden = !told.big;
  $("number").classList.toggle("failed", Boolean(item.error && !told.big));
  $("big").textContent = told.big;
  replaceChildren($("unit"), ...(told.busy ? [spinner()] : []), told.unit);
  $("interval").textContent = told.interval ?? "";
  $("interval").hidden = !told.interval;
  $("facts").textContent = told.facts ?? "";
  const warning = state.mode !== "correct" && item.result?.warning;
  $("warning").hidden = !warning;
  $("warning").textContent = warning || "";
  $("trouble").hidden = !item.error;
  $("trouble").textContent = item.error;
  $("again").hidden = !item.error || item.permanent || item.kind === "video";
  const layer = state.mode !== "correct" && item.result?.overlay && state.layer !== "none";
  $("legend").hidden = !layer;
  if (!layer) return;
  $("ramp").className = state.layer;
  $("least").textContent = state.layer === "mask" ? "no people" : "0";
  $("peak").textContent =
    state.layer === "mask"
      ? "people"
      : `${Number(item.result.overlay.peak.toPrecision(2))} people per 100 × 100 pixels`;
}

/** The big number and the texts around it. */
export function headline(item) {
  const { result, dots, job } = item;
  if (item.kind === "video")
    return job?.rows.length
      ? videoHeadline(item, job.rows)
      : {
          big: "",
          unit: item.error ? "Not counted" : item.state === "counting" ? "Counting" : "Not counted yet",
          busy: item.state === "counting",
        };
  if (state.mode === "correct")
    return dots
      ? {
          big: dots.points.length.toLocaleString("en"),
          unit: dots.points.length === 1 ? "dot" : "dots",
          interval: dots.estimate === null ? "" : `The model found ${dots.estimate.toLocaleString("en")}.`,
        }
      : { big: "", unit: busyText(item) || "No dots", busy: Boolean(busyText(item)) };
  if (!result) return { big: "", unit: busyText(item) || "Not counted", busy: Boolean(busyText(item)) };
  return {
    big: formatCount(result.count),
    unit: Math.round(result.count) === 1 ? "person" : "people",
    interval: result.low === null ? "" : `Likely ${formatCount(result.low)} to ${formatCount(result.high)}.`,
    facts: `${result.width} × ${result.height}, ${result.seconds.toFixed(2)} s, ${result.model}`,
  };
}

function videoHeadline(item, rows) {
  const row = shownRow(item),
    mean = rows.reduce((sum, one) => sum + one.count, 0) / rows.length;
  const top = rows.reduce((best, one) => (one.count > best.count ? one : best));
  return {
    big: formatCount(row.count),
    unit: `${Math.round(row.count) === 1 ? "person" : "people"} at ${round(row.time, 2)} s`,
    interval: `Mean ${formatCount(mean)}; maximum ${formatCount(top.count)} at ${round(top.time, 2)} s.`,
    facts: `${rows.length} frames, ${item.job.model ?? state.model}`,
  };
}

export function renderCompare(item) {
  const others = state.facts.models.map((model) => model.name).filter((name) => name !== state.model);
  $("compare").hidden = !others.length || state.mode !== "view" || item.kind === "video";
  replaceChildren(
    $("other"),
    ...["", ...others].map((name) =>
      element("option", { value: name, selected: name === state.other }, name || "none"),
    ),
  );
  const second = item.other,
    both = state.other && item.result && second?.model === state.other && state.mode === "view";
  $("pair").hidden = !both;
  $("wipebox").hidden = !(both && second.result && state.layer !== "none");
  if (!both) return;
  replaceChildren(
    $("pair"),
    ...[
      [item.result.model, item.result],
      [second.model, second.result],
    ].map(([name, result]) =>
      element(
        "div",
        {},
        element("span", { className: "small soft" }, name),
        result || !second.error
          ? element("b", {}, result ? formatCount(result.count) : "…")
          : element("p", { className: "small bad" }, second.error),
      ),
    ),
  );
  $("wipea").textContent = item.result.model;
  $("wipeb").textContent = second.model;
}

export function renderRegions(item) {
  $("regions").hidden = state.mode !== "region" && !(item.regions.length && state.mode === "view");
  $("regionshelp").hidden = state.mode !== "region";
  $("regiontable").hidden = $("regiontools").hidden = !item.regions.length;
  if ($("regions").hidden) return;
  replaceChildren($("regiontable").tBodies[0], ...item.regions.map((region, i) => regionRow(item, region, i)));
  const lines = item.regions.map(formatRegion).join("\n");
  if ($("corners").dataset.shown !== lines + item.id) {
    $("corners").value = lines;
    $("corners").dataset.shown = lines + item.id;
  }
}

function regionRow(item, region, i) {
  const told = regionCount(item, region);
  return element(
    "tr",
    {},
    element(
      "td",
      {},
      element("input", {
        id: `name${i}`,
        value: region.name,
        maxLength: 60,
        "aria-label": `Name of region ${i + 1}`,
        onchange: (event) => changeRegion(item, i, { name: event.target.value }),
      }),
    ),
    element(
      "td",
      { className: `right number ${told?.over ? "bad" : ""}` },
      told ? element("b", {}, formatCount(told.count)) : item.kind === "video" ? "" : "…",
      told?.over ? element("span", { className: "small" }, "too many") : "",
    ),
    element(
      "td",
      {},
      element("input", {
        id: `max${i}`,
        type: "number",
        min: 1,
        value: region.max ?? "",
        "aria-label": `Maximum number of people in ${region.name}`,
        onchange: (event) =>
          changeRegion(item, i, { max: event.target.valueAsNumber > 0 ? event.target.valueAsNumber : undefined }),
      }),
    ),
    element(
      "td",
      { className: "right" },
      element(
        "button",
        {
          className: "plain",
          "aria-label": `Delete ${region.name}`,
          onclick: () =>
            setRegions(
              item,
              item.regions.filter((_, j) => j !== i),
            ),
        },
        icon("close"),
      ),
    ),
  );
}

export function renderDots(item) {
  $("correct").hidden = state.mode !== "correct";
  if (state.mode !== "correct") return;
  const dots = item.dots,
    project = item.kind === "project";
  $("projecttools").hidden = !project;
  $("undo").disabled = !dots?.past.length;
  $("redo").disabled = !dots?.future.length;
  $("deletedot").disabled = !dots?.points[state.dot];
  $("save").disabled = !dots || item.saving;
  $("save").textContent = item.saving ? "Saving" : unsaved(item) || item.marked === null ? "Save" : "Saved";
  const point = dots?.points[state.dot];
  $("dotstate").textContent = point
    ? `Dot ${state.dot + 1} at ${point.map((value) => Math.round(value)).join(", ")}`
    : project
      ? `${progressText()}. ${savedText(item)}`
      : "Put a dot on each head, then save the dots as CSV.";
}

function savedText(item) {
  if (unsaved(item)) return "This photo has unsaved changes.";
  if (item.marked !== null) return "This photo is saved.";
  return "These dots are the model's estimate; correct them, then save.";
}

export function renderVideo(item) {
  const isVideo = item.kind === "video",
    running = item.state === "counting";
  $("video").hidden = !isVideo;
  $("countovertime").hidden = !isVideo || !item.job?.rows.length;
  if (!isVideo) return;
  $("progress").hidden = !running;
  if (item.job?.progress != null) $("progress").value = item.job.progress;
  else $("progress").removeAttribute("value");
  $("videostate").textContent =
    item.job || running ? statusText(item) : "To count only part of the frame, draw regions first.";
  $("startvideo").hidden = running || item.permanent;
  $("startvideo").textContent = item.job ? "Count again" : "Count this video";
  $("stopvideo").hidden = !running || !item.job;
  if ($("countovertime").hidden) return;
  renderChart(item);
  seekFrame(item);
}

export function renderChart(item) {
  const { rows } = item.job,
    regions = rows[0].regions ?? [];
  replaceChildren($("chart"), chartElement(item));
  $("readout").textContent = rowText(shownRow(item));
  const head = ["Seconds", "People", ...regions.map((region) => region.name)];
  if ($("rows").open)
    replaceChildren(
      $("rows").lastElementChild,
      element(
        "table",
        {},
        element("caption", { className: "visually-hidden" }, `People in ${item.name} over time`),
        element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
        element(
          "tbody",
          {},
          ...rows.map((one) =>
            element(
              "tr",
              { className: "number" },
              element("td", {}, String(round(one.time, 2))),
              element("td", {}, formatCount(one.count)),
              ...(one.regions ?? []).map((region) => element("td", {}, formatCount(region.count))),
            ),
          ),
        ),
      ),
    );
}

// The panel beside the photo: the count and the tools of each mode.

import { chartElement, rowText } from "./chart.js";
import { $, element, icon, replaceChildren, spinner } from "./dom.js";
import { progressText } from "./dots.js";
import { formatCount, formatFrames, formatPeople, round } from "./format.js";
import { changeRegion, formatRegion, regionCount, setRegions } from "./regions.js";
import { busyText, statusText } from "./render.js";
import { state, unsaved } from "./state.js";
import { language, t, translateMessage } from "./translation.js";
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
  $("warning").textContent = translateMessage(warning || "");
  $("trouble").hidden = !item.error;
  $("trouble").textContent = translateMessage(item.error);
  renderTruth(item);
  $("again").hidden = !item.error || item.permanent || item.kind === "video";
  const layer = state.mode !== "correct" && item.result?.overlay && state.layer !== "none";
  $("legend").hidden = !layer;
  if (!layer) return;
  $("ramp").className = state.layer;
  $("least").textContent = state.layer === "mask" ? t("no people") : "0";
  $("peak").textContent =
    state.layer === "mask"
      ? t("people")
      : t("{count} people per 100 × 100 pixels", {
          count: Number(item.result.overlay.peak.toPrecision(2)),
        });
}

/** The big number and the texts around it. */
export function headline(item) {
  const { result, dots, job } = item;
  if (item.kind === "video")
    return job?.rows.length
      ? videoHeadline(item, job.rows)
      : {
          big: "",
          unit: t(item.error ? "Not counted" : item.state === "counting" ? "Counting" : "Not counted yet"),
          busy: item.state === "counting",
        };
  if (state.mode === "correct")
    return dots
      ? {
          big: formatCount(dots.points.length),
          unit: t(dots.points.length === 1 ? "dot" : "dots"),
          interval:
            dots.estimate === null
              ? ""
              : t("The model found {count}.", {
                  count: formatCount(dots.estimate),
                }),
        }
      : {
          big: "",
          unit: busyText(item) || t("No dots"),
          busy: Boolean(busyText(item)),
        };
  if (!result)
    return {
      big: "",
      unit: busyText(item) || t("Not counted"),
      busy: Boolean(busyText(item)),
    };
  return {
    big: formatCount(result.count),
    unit: t(Math.round(result.count) === 1 ? "person" : "people"),
    interval:
      result.low === null
        ? ""
        : t("Likely {low} to {high}.", {
            low: formatCount(result.low),
            high: formatCount(result.high),
          }),
    facts: `${result.width} × ${result.height}, ${result.seconds.toFixed(2)} s, ${result.model}`,
  };
}

function videoHeadline(item, rows) {
  const row = shownRow(item),
    mean = rows.reduce((sum, one) => sum + one.count, 0) / rows.length;
  const top = rows.reduce((best, one) => (one.count > best.count ? one : best));
  return {
    big: formatCount(row.count),
    unit: t(Math.round(row.count) === 1 ? "person at {time} s" : "people at {time} s", { time: round(row.time, 2) }),
    interval: t("Mean {mean}; maximum {most} at {time} s.", {
      mean: formatCount(mean),
      most: formatCount(top.count),
      time: round(top.time, 2),
    }),
    facts: `${formatFrames(rows.length)}, ${item.job.model ?? state.model}`,
  };
}

export function renderCompare(item) {
  const others = state.facts.models.map((model) => model.name).filter((name) => name !== state.model);
  $("compare").hidden = !others.length || state.mode !== "view" || item.kind === "video";
  replaceChildren(
    $("other"),
    ...["", ...others].map((name) =>
      element("option", { value: name, selected: name === state.other }, name || t("none")),
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
  $("undoregions").hidden = state.mode !== "region" || !item.earlier.length;
  if ($("regions").hidden) return;
  replaceChildren($("regiontable").tBodies[0], ...item.regions.map((region, i) => regionRow(item, region, i)));
  const lines = item.regions.map(formatRegion).join("\n");
  if ($("corners").dataset.shown !== lines + item.id) {
    $("corners").value = lines;
    $("corners").dataset.shown = lines + item.id;
  }
}

const positive = (value) => (value > 0 ? value : undefined);

/** A field for a positive number; `changed` gets undefined if it is emptied. */
const numberField = (id, label, value, limits, changed) =>
  element("input", {
    id,
    type: "number",
    ...limits,
    value: value ?? "",
    "aria-label": label,
    onchange: (event) => changed(positive(event.target.valueAsNumber)),
  });

/** The count beside the true number. */
function renderTruth(item) {
  const { truth, result } = item,
    counted = result && state.mode === "view" && item.kind !== "video";
  $("truthbox").hidden = !counted;
  $("truthdifference").hidden = !counted || truth === null;
  if (document.activeElement !== $("truth")) $("truth").value = truth ?? "";
  if ($("truthdifference").hidden) return;
  const difference = Math.round(result.count - truth),
    signed = difference.toLocaleString(language(), {
      signDisplay: "exceptZero",
    }),
    share = truth ? Math.abs((100 * (result.count - truth)) / truth).toFixed(0) : null;
  $("truthdifference").textContent =
    share === null
      ? formatPeople(result.count)
      : t("{difference} people, {percent} % off", {
          difference: signed,
          percent: share,
        });
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
        "aria-label": t("Name of region {number}", { number: i + 1 }),
        onchange: (event) => changeRegion(item, i, { name: event.target.value }),
      }),
    ),
    element(
      "td",
      { className: `right number ${told?.over ? "bad" : ""}` },
      told ? element("b", {}, formatCount(told.count)) : item.kind === "video" ? "" : "…",
      told?.over ? element("span", { className: "small" }, t("too many")) : "",
      told?.per_square_metre != null
        ? element(
            "span",
            { className: "small soft unbroken" },
            t("{count} per m²", { count: told.per_square_metre.toFixed(2) }),
          )
        : "",
    ),
    element(
      "td",
      {},
      numberField(
        `max${i}`,
        t("Maximum number of people in {name}", { name: region.name }),
        region.max,
        { min: 1 },
        (max) => changeRegion(item, i, { max }),
      ),
    ),
    element(
      "td",
      {},
      numberField(
        `area${i}`,
        t("Area of {name} in square meters", { name: region.name }),
        region.area,
        { min: 0, step: "any" },
        (area) => changeRegion(item, i, { area }),
      ),
    ),
    element(
      "td",
      { className: "right" },
      element(
        "button",
        {
          className: "plain",
          "aria-label": t("Delete {name}", { name: region.name }),
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
  $("save").textContent = t(item.saving ? "Saving" : unsaved(item) || item.marked === null ? "Save" : "Saved");
  const point = dots?.points[state.dot];
  $("dotstate").textContent = point
    ? t("Dot {number} at {place}", {
        number: state.dot + 1,
        place: point.map(Math.round).join(", "),
      })
    : project
      ? `${progressText()}. ${savedText(item)}`
      : t("Put a dot on each head, then save the dots as CSV.");
}

function savedText(item) {
  if (unsaved(item)) return t("This photo has unsaved changes.");
  if (item.marked !== null) return t("This photo is saved.");
  return t("These dots are the model's estimate; correct them, then save.");
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
    item.job || running ? statusText(item) : t("To count only part of the frame, draw regions first.");
  $("startvideo").hidden = running || item.permanent;
  $("startvideo").textContent = t(item.job ? "Count again" : "Count this video");
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
  const head = [t("Seconds"), t("People"), ...regions.map((region) => region.name)];
  if ($("rows").open)
    replaceChildren(
      $("rows").lastElementChild,
      element(
        "table",
        {},
        element("caption", { className: "visually-hidden" }, t("People in {name} over time", { name: item.name })),
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

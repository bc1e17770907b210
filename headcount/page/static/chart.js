// The chart of a video: people over time.

import { $, svgElement } from "./dom.js";
import { formatClock, formatCount, formatPeople, formatTick, round } from "./format.js";
import { t } from "./translation.js";
import { chooseRow, shownRow } from "./videos.js";

export const CHART = { height: 240, left: 46, right: 12, top: 12, bottom: 28 };

/** The chart of a video's rows, with a mark at the shown one: an SVG element that is also a slider over the rows. */
export function chartElement(item) {
  const scale = chartScale(item.job.rows, Math.max(280, $("chart").clientWidth));
  const chart = svgElement("svg", {
    viewBox: `0 0 ${scale.width} ${CHART.height}`,
    tabindex: 0,
    role: "slider",
    id: "plot",
    "aria-label": t("Frame shown"),
    "aria-valuemin": 0,
    "aria-valuemax": item.job.rows.length - 1,
    "aria-valuenow": item.job.rows.indexOf(shownRow(item)),
    "aria-valuetext": rowText(shownRow(item)),
  });
  chart.append(...axes(scale), ...curves(item.job.rows, scale), ...mark(shownRow(item), scale));
  listen(chart, item, scale);
  return chart;
}

/** Positions in the chart: `x` of a time and `y` of a count, and the steps of the axes. */
function chartScale(rows, width) {
  const { height, left, right, top, bottom } = CHART;
  const end = Math.max(rows.at(-1).time, 1e-3);
  const most = Math.max(1, ...rows.map((row) => row.high ?? row.count));
  const countStep = niceStep(most / 4);
  const ceiling = Math.ceil(most / countStep) * countStep;
  return {
    width,
    end,
    ceiling,
    countStep,
    timeStep: niceStep(end / (width / 110)),
    x: (time) => left + (time / end) * (width - left - right),
    y: (count) => height - bottom - (Math.max(0, count) / ceiling) * (height - top - bottom),
    time: (x) => ((x - left) / (width - left - right)) * end,
  };
}

function axes({ width, end, ceiling, countStep, timeStep, x, y }) {
  const nodes = [];
  for (let count = 0; count <= ceiling + countStep / 2; count += countStep) {
    const line = {
      class: "axis",
      x1: CHART.left,
      x2: width - CHART.right,
      y1: y(count),
      y2: y(count),
    };
    const place = { x: CHART.left - 8, y: y(count) + 4, "text-anchor": "end" };
    nodes.push(svgElement("line", line), svgElement("text", place, formatTick(count, countStep)));
  }
  for (let time = 0; time <= end * 1.0001; time += timeStep) {
    const place = { x: x(time), y: CHART.height - 8, "text-anchor": "middle" };
    nodes.push(svgElement("text", place, end < 10 ? `${round(time, 2)} s` : formatClock(time)));
  }
  return nodes;
}

/** The interval as a band, a line for each region, and the count. */
function curves(rows, { x, y }) {
  const path = (points) => points.map(([time, count]) => `${x(time).toFixed(1)} ${y(count).toFixed(1)}`).join("L");
  const curve = (name, value) =>
    svgElement("path", {
      class: name,
      d: `M${path(rows.map((row) => [row.time, value(row)]))}`,
    });
  const regions = (rows[0].regions ?? []).map((_, i) => curve("region", (row) => row.regions[i].count));
  const nodes = [...regions, curve("line", (row) => row.count)];
  if (rows.some((row) => row.low === null)) return nodes;
  const around = [...rows.map((row) => [row.time, row.high]), ...rows.map((row) => [row.time, row.low]).reverse()];
  return [svgElement("path", { class: "band", d: `M${path(around)}Z` }), ...nodes];
}

function mark(row, { x, y }) {
  const rule = {
    class: "rule",
    x1: x(row.time),
    x2: x(row.time),
    y1: CHART.top,
    y2: CHART.height - CHART.bottom,
  };
  return [svgElement("line", rule), svgElement("circle", { cx: x(row.time), cy: y(row.count), r: 5 })];
}

/** Choose rows with the mouse, a finger or the keyboard. */
function listen(chart, item, scale) {
  const { rows } = item.job;
  const chooseNearest = (event) => {
    const box = chart.getBoundingClientRect();
    const time = scale.time(((event.clientX - box.left) / box.width) * scale.width);
    const distances = rows.map((row) => Math.abs(row.time - time));
    chooseRow(item, distances.indexOf(Math.min(...distances)));
  };
  chart.onpointerdown = (event) => {
    event.preventDefault(); // it would move the focus, and choosing a row replaces the chart
    $("chart").setPointerCapture(event.pointerId);
    chooseNearest(event);
    $("plot").focus({ preventScroll: true });
  };
  $("chart").onpointermove = (event) => {
    if (event.buttons) chooseNearest(event);
  };
  chart.onkeydown = (event) => {
    const at = rows.indexOf(shownRow(item)),
      last = rows.length - 1;
    const chosen = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      Home: 0,
      End: last,
    }[event.key];
    if (chosen === undefined) return;
    event.preventDefault();
    chooseRow(item, Math.min(Math.max(chosen, 0), last));
  };
}

/** The counts of a row as text: "0.5 s: 12 people, stage 3". */
export function rowText(row) {
  const regions = (row.regions ?? []).map((region) => `${region.name} ${formatCount(region.count)}`);
  return [`${round(row.time, 2)} s: ${formatPeople(row.count)}`, ...regions].join(", ");
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

// The chart of a video: people over time.

import { $, svgElement } from "./dom.js";
import { formatClock, formatCount, formatPeople, formatTick, round } from "./format.js";
import { chooseRow, shownRow } from "./videos.js";

export const CHART = { height: 240, left: 46, right: 12, top: 12, bottom: 28 };

export function chartElement(item) {
  const { rows } = item.job,
    { height, left, right, top, bottom } = CHART,
    width = Math.max(280, $("chart").clientWidth);
  const end = Math.max(rows.at(-1).time, 1e-3),
    most = Math.max(1, ...rows.map((row) => row.high ?? row.count));
  const x = (time) => left + (time / end) * (width - left - right),
    y = (value) => height - bottom - (Math.max(0, value) / ceiling) * (height - top - bottom);
  const step = niceStep(most / 4),
    ceiling = Math.ceil(most / step) * step,
    pace = niceStep(end / (width / 110));
  const line = (values) =>
    values.map((value, i) => `${i ? "L" : "M"}${x(rows[i].time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const chosen = shownRow(item),
    at = rows.indexOf(chosen);
  const node = svgElement("svg", {
    viewBox: `0 0 ${width} ${height}`,
    tabindex: 0,
    role: "slider",
    id: "plot",
    "aria-label": "Frame shown",
    "aria-valuemin": 0,
    "aria-valuemax": rows.length - 1,
    "aria-valuenow": at,
    "aria-valuetext": rowText(chosen),
  });
  for (let value = 0; value <= ceiling + step / 2; value += step) {
    node.append(
      svgElement("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svgElement("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, formatTick(value, step)),
    );
  }
  for (let time = 0; time <= end * 1.0001; time += pace)
    node.append(
      svgElement(
        "text",
        { x: x(time), y: height - 8, "text-anchor": "middle" },
        end < 10 ? `${round(time, 2)} s` : formatClock(time),
      ),
    );
  if (rows.every((row) => row.low !== null))
    node.append(
      svgElement("path", {
        class: "band",
        d: `${line(rows.map((row) => row.high))}${rows
          .toReversed()
          .map((row) => `L${x(row.time)} ${y(row.low)}`)
          .join("")}Z`,
      }),
    );
  (rows[0].regions ?? []).forEach((_, i) =>
    node.append(svgElement("path", { class: "region", d: line(rows.map((row) => row.regions[i].count)) })),
  );
  node.append(svgElement("path", { class: "line", d: line(rows.map((row) => row.count)) }));
  node.append(
    svgElement("line", { class: "rule", x1: x(chosen.time), x2: x(chosen.time), y1: top, y2: height - bottom }),
    svgElement("circle", { cx: x(chosen.time), cy: y(chosen.count), r: 5 }),
  );
  const nearest = (event) => {
    const box = node.getBoundingClientRect(),
      time = ((((event.clientX - box.left) / box.width) * width - left) / (width - left - right)) * end;
    return rows.reduce((best, row, i) => (Math.abs(row.time - time) < Math.abs(rows[best].time - time) ? i : best), 0);
  };
  node.onpointerdown = (event) => {
    event.preventDefault(); // it would move the focus, and chooseRow replaces this node
    $("chart").setPointerCapture(event.pointerId);
    chooseRow(item, nearest(event));
    $("plot").focus({ preventScroll: true });
  };
  $("chart").onpointermove = (event) => {
    if (event.buttons) chooseRow(item, nearest(event));
  };
  node.onkeydown = (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    chooseRow(item, Math.min(Math.max(to, 0), rows.length - 1));
  };
  return node;
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

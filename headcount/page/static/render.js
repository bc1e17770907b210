// Rendering. `render` rebuilds everything, at most once per frame.

import { batch, pendingCount } from "./counting.js";
import { $, element, icon, replaceChildren, spinner, stage } from "./dom.js";
import { progressText } from "./dots.js";
import { formatCount, formatDots, formatDuration, formatFrames, formatPeople, formatPhotos } from "./format.js";
import { removeItem, selectItem } from "./items.js";
import { renderCompare, renderDots, renderNumber, renderRegions, renderVideo } from "./panel.js";
import { state, unsaved } from "./state.js";
import { t, translateMessage } from "./translation.js";
import { photoSize, updateCursor } from "./view.js";

let renderRequest = 0;

export function render() {
  renderRequest ||= requestAnimationFrame(() => {
    renderRequest = 0;
    renderNow();
  });
}

function renderNow() {
  const item = state.selected,
    isVideo = item?.kind === "video";
  $("loading").hidden = Boolean(state.facts);
  $("welcome").hidden = !state.facts || state.items.length > 0;
  $("work").hidden = !state.facts || !state.items.length;
  renderList();
  if (!item) return;
  $("correctbox").hidden = isVideo;
  for (const name of ["mode", "layer"])
    for (const input of document.getElementsByName(name)) input.checked = input.value === state[name];
  const layered = state.mode !== "correct" && !isVideo;
  $("layers").hidden = !layered;
  $("opacitybox").hidden = !layered;
  $("opacity").disabled = state.layer === "none"; // hiding it would make the photo jump
  $("frame").classList.toggle("short", isVideo || Boolean(item.error && !photoSize()));
  $("drawing").hidden = !state.corners;
  renderNumber(item);
  renderCompare(item);
  renderRegions(item);
  renderDots(item);
  renderVideo(item);
  const busy = !isVideo && busyText(item),
    unseen = state.images.photo === null && !photoSize() && !item.error;
  $("busy").hidden = !busy && !unseen;
  if (busy) replaceChildren($("busy"), spinner(), busy);
  else if (unseen) replaceChildren($("busy"), t("This browser cannot show this file. headcount can still count it."));
  stage.setAttribute("aria-label", `${item.name}, ${statusText(item)}`);
  $("hint").textContent = t(HINTS[state.mode]);
  updateCursor();
}

const HINTS = {
  view: "Scroll or pinch to zoom, drag to move, double-click to fit.",
  region: "Click corners; double-click or press Enter to close. Drag to move the photo.",
  correct:
    "Click to add, drag to move, right-click to delete. N and P step through the dots, arrow keys move one, A adds one in the center.",
};

/** What is being done with a photo now; empty if nothing. */
export function busyText(item) {
  if (item.opening) return t("Finding heads");
  return { waiting: t("Waiting"), counting: item.note || t("Counting") }[item.state] ?? "";
}

export function statusText(item) {
  if (item.note) return item.note;
  if (item.state === "waiting") return t("waiting");
  if (item.state === "counting") return item.kind === "video" ? jobText(item.job) : t("counting");
  if (item.error) return translateMessage(item.error);
  if (unsaved(item)) return item.kind === "project" ? t("not saved") : formatDots(item.dots.points.length);
  if (item.marked !== null) return t("{count} saved", { count: item.marked });
  if (item.kind === "video") return item.job ? jobText(item.job) : t("video, not counted yet");
  return item.result ? formatCount(item.result.count) : t("not saved yet");
}

function jobText(job) {
  if (!job) return t("sending");
  return `${t(job.state === "running" ? "counting" : job.state)}, ${formatFrames(job.rows.length)}`;
}

function renderList() {
  const counted = state.items.filter((item) => item.result),
    total = counted.reduce((sum, item) => sum + item.result.count, 0);
  const failed = state.items.filter((item) => item.error).length;
  $("total").textContent = state.project
    ? progressText()
    : (counted.length
        ? t("{people} in {photos}", {
            people: formatPeople(total),
            photos: formatPhotos(counted.length),
          })
        : t("Photos")) + (failed ? t("; {count} not counted", { count: failed }) : "");
  renderOverall();
  $("list").classList.toggle("folder", Boolean(state.project));
  $("adders").hidden = Boolean(state.project);
  for (const button of document.querySelectorAll(".saves")) button.disabled = !counted.length;
  $("place").textContent = state.project?.name ?? "";
  replaceChildren($("list"), ...state.items.map(listRow));
}

function renderOverall() {
  const left = pendingCount(),
    ended = batch?.ended ?? 0;
  $("overall").hidden = !left || left + ended < 2;
  if ($("overall").hidden) return;
  const seconds = ((performance.now() - batch.startedAt) / 1000 / ended) * left;
  Object.assign($("overallbar"), { max: left + ended, value: ended });
  $("overalltext").textContent =
    t("{ended} of {total} photos", { ended, total: left + ended }) +
    (ended > 1 ? t(", about {time} left", { time: formatDuration(seconds) }) : "");
}

function listRow(item) {
  const status = statusText(item),
    failed = item.error && !item.note,
    number = item.result && item.state === "done" && !failed && status === formatCount(item.result.count);
  const mark =
    item.thumb ??
    (failed
      ? null
      : element(
          "span",
          { className: "blank" },
          icon(item.marked !== null ? "check" : item.kind === "video" ? "video" : "file"),
        ));
  const pick = element(
    "button",
    {
      className: "pick",
      id: `pick${item.id}`,
      title: failed ? status : item.name,
      "aria-current": item === state.selected ? "true" : null,
      onclick: () => selectItem(item),
    },
    mark,
    element(
      "span",
      { className: "words" },
      element("span", { className: "name" }, item.name),
      element(
        "span",
        { className: `state number ${failed ? "bad" : number ? "" : "soft"}` },
        item.state === "counting" ? spinner() : null,
        status,
      ),
    ),
  );
  const away =
    item.kind === "project"
      ? null
      : element(
          "button",
          {
            className: "plain remove",
            id: `remove${item.id}`,
            "aria-label": t("Remove {name}", { name: item.name }),
            onclick: () => removeItem(item),
          },
          icon("close"),
        );
  return element(
    "li",
    {
      className: `${item === state.selected ? "chosen" : ""} ${failed ? "failed" : ""}`,
    },
    pick,
    away,
  );
}

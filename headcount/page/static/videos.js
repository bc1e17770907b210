// Counting videos, which are jobs of the server.

import { checkSize } from "./counting.js";
import { $, announce } from "./dom.js";
import { formatFrames } from "./format.js";
import { renderChart, renderNumber } from "./panel.js";
import { requestBody } from "./remote.js";
import { render } from "./render.js";
import { failedWith, request, sleep } from "./server.js";
import { state } from "./state.js";
import { t } from "./translation.js";

export async function startVideo(item) {
  Object.assign(item, {
    state: "counting",
    error: "",
    note: t("sending"),
    job: null,
    every: $("every").value,
    row: -1,
  });
  render();
  const say = (note) => {
    item.note = note;
    render();
  };
  try {
    checkSize(item.file, state.facts.limits.video);
    const query = new URLSearchParams({
      model: state.model,
      every: item.every,
    });
    const job = await request(`/v1/video?${query}`, {
      method: "POST",
      body: requestBody(item, item.regions),
      signal: item.stop.signal,
      say,
    });
    item.job = { ...job, rows: [] };
    item.note = "";
    await followJob(item, item.job);
  } catch (error) {
    Object.assign(item, { ...failedWith(error), state: "failed" });
  }
  render();
}

async function followJob(item, job) {
  for (let wait = 250; item.job === job; wait = Math.min(wait * 1.3, 1500)) {
    const told = await request(`/v1/jobs/${job.id}?since=${job.rows.length}`, {
      signal: item.stop.signal,
    });
    Object.assign(job, told, { rows: [...job.rows, ...told.rows] });
    render();
    if (!["waiting", "running"].includes(job.state)) break;
    await sleep(wait, item.stop.signal);
  }
  if (item.job !== job) return;
  Object.assign(item, {
    state: job.state === "failed" ? "failed" : "done",
    error: job.error ?? "",
  });
  announce(
    t("{name}: {state}, {frames} counted", {
      name: item.name,
      state: t(job.state),
      frames: formatFrames(job.rows.length),
    }),
  );
}

export async function cancelVideo(item) {
  if (!item.job) return;
  await request(`/v1/jobs/${item.job.id}`, { method: "DELETE" }).catch((error) => announce(error.message));
  render();
}

/** The row whose number is shown. */
export const shownRow = ({ job, row }) => job?.rows[row] ?? job?.rows.at(-1);

export function chooseRow(item, i) {
  item.row = i;
  seekFrame(item);
  renderChart(item);
  renderNumber(item);
}

/** Seek the video to the frame that was counted for the shown row; `onseeked` calls this again. */
export function seekFrame(item) {
  const video = state.images.photo,
    row = item && shownRow(item);
  if (!row || !video?.videoWidth || video.seeking || video.soughtTime === row.time) return;
  video.soughtTime = row.time;
  video.currentTime = Math.min(row.time + 0.001, video.duration || row.time);
}

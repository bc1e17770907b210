// The engine in this browser: a worker runs the model, and nothing is sent anywhere.

import { open } from "../headcount.js";
import { formatDuration, round } from "./format.js";
import { Failure } from "./server.js";
import { t } from "./translation.js";

let counter = null;
let example = null; // is loaded at the start, so that the page sends no request later

export async function openEngine(say) {
  const photo = inlined("example.jpg") ? readInlined("example.jpg") : fetch("example.jpg");
  counter = await open({
    base: document.baseURI,
    read: inlined("worker.js") ? readInlined : undefined,
    onLoad: (share) =>
      say(
        t("Loading the model, {percent} %", {
          percent: Math.round(100 * share),
        }),
      ),
  });
  example = await (await photo).blob();
  if (!inlined("worker.js")) keepOffline();
  const { name, version } = counter.meta;
  return {
    default: name,
    models: [{ name }],
    limits: { body: Infinity },
    project: false,
    version,
  };
}

export async function countItem(item, model, wanted, regions, say) {
  if (item.stop.signal.aborted) throw new Failure(t("cancelled"));
  let began = 0;
  const onProgress = (share) => {
    const now = performance.now();
    began ||= now;
    if (!share) return void (began = now);
    const left = ((now - began) / 1000 / share) * (1 - share);
    say(
      t("{percent} %, about {time} left", {
        percent: Math.round(100 * share),
        time: formatDuration(left),
      }),
    );
  };
  try {
    const options = {
      overlay: Boolean(wanted.overlay),
      points: Boolean(wanted.points),
      regions,
      onProgress,
    };
    return asAnswer(await counter.count(item.file, options));
  } catch (error) {
    throw new Failure(error.message, true);
  } finally {
    say("");
  }
}

/** A result in the form of POST /v1/count; the maps stay behind, since 50 photos would keep them all. */
function asAnswer({ density, mask, warnings, points, stride, unit, ...result }) {
  const people = (value) => (value === null ? null : round(value, 2));
  return {
    ...result,
    count: people(result.count),
    low: people(result.low),
    high: people(result.high),
    scale: round(result.scale, 4),
    seconds: round(result.seconds, 3),
    points: points.map((point) => point.map((value) => round(value, 2))),
    regions: result.regions.map((region) => ({
      ...region,
      count: people(region.count),
    })),
    ...(warnings.length ? { warning: warnings[0] } : {}),
  };
}

export const fetchExample = async () => example;

const inlined = (name) => document.getElementById(`asset:${name}`);

/** A file that is part of the page, which then needs no server. */
async function readInlined(name) {
  const packed = new Blob([Uint8Array.from(atob(inlined(name).textContent), (letter) => letter.charCodeAt(0))]);
  const plain = /\.(gz|jpg)$/.test(name);
  return new Response(plain ? packed : packed.stream().pipeThrough(new DecompressionStream("gzip")));
}

/** From the second visit on, the page needs no connection, and it may use several threads. */
function keepOffline() {
  navigator.serviceWorker
    ?.register("sw.js")
    .then(() => navigator.serviceWorker.ready)
    .then(() => document.documentElement.setAttribute("data-offline", "ready"))
    .catch(() => {}); // as in a private window: the page then works while there is a connection
}

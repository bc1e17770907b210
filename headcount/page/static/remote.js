// The engine that asks the server.

import { request, waitUntilOnline } from "./server.js";

export async function openEngine() {
  const facts = await request("/v1/models");
  // This notices early that the server is gone.
  setInterval(() => document.hidden || fetch("/healthz").catch(waitUntilOnline), 5000);
  return facts;
}

export function countItem(item, model, wanted, regions, say) {
  return request(`/v1/count?${new URLSearchParams(wanted)}&model=${encodeURIComponent(model)}`, {
    method: "POST",
    body: requestBody(item, regions),
    signal: item.stop.signal,
    say,
  });
}

export function requestBody(item, regions) {
  const body = new FormData();
  if (regions.length) body.append("regions", JSON.stringify({ regions }));
  body.append("file", item.file, item.name);
  return body;
}

export const fetchExample = () => request("/v1/example", { blob: true });

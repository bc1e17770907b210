// Requests to the server.

import { $, showBanner } from "./dom.js";
import { t } from "./translation.js";

/** An error whose message is one line for the user. `permanent`: the same request would fail again. */
export class Failure extends Error {
  constructor(message, permanent = false) {
    super(message);
    this.permanent = permanent;
  }
}

const PERMANENT = [400, 413, 415, 422]; // HTTP statuses of requests that can never succeed

export const failedWith = (error) => ({
  error: error.message,
  permanent: Boolean(error.permanent),
});

export const sleep = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        fail(new Failure(t("cancelled")));
      },
      { once: true },
    );
  });

/** A response of the server. If the server is unreachable or busy, or requires a key, this waits and tries again. */
export async function request(path, { method = "GET", body, json, signal, blob, say = () => {} } = {}) {
  for (let broken = 0; ;) {
    const headers = {},
      key = sessionStorage.getItem("key");
    if (key) headers.Authorization = `Bearer ${key}`;
    if (json) headers["Content-Type"] = "application/json";
    let answer, said;
    try {
      answer = await fetch(path, {
        method,
        headers,
        signal,
        body: json ? JSON.stringify(json) : body,
      });
      said = await (blob && answer.ok ? answer.blob() : answer.json().catch(() => ({})));
    } catch {
      if (signal?.aborted) throw new Failure(t("cancelled"));
      await waitUntilOnline();
      // The server is reachable, but not for this request.
      if (++broken === 3) throw new Failure(t("the connection failed during the upload"));
      continue;
    }
    if (answer.ok) return said;
    if (answer.status === 401) await promptForKey(key);
    else if (answer.status === 503) await waitToRetry(+answer.headers.get("Retry-After") || 2, signal, say);
    else
      throw new Failure(
        said.error ||
          t("the server responded with status {status}", {
            status: answer.status,
          }),
        PERMANENT.includes(answer.status),
      );
  }
}

async function waitToRetry(seconds, signal, say) {
  for (let left = seconds; left > 0; left--) {
    say(t("busy, retrying in {count} s", { count: left }));
    await sleep(1000, signal);
  }
  say("");
}

let reconnecting = null; // all requests wait for the same connection attempts

export function waitUntilOnline() {
  return (reconnecting ??= (async () => {
    for (let wait = 200; ; wait = 2000) {
      const answer = await fetch("/healthz").catch(() => null);
      if (answer?.ok) break;
      showBanner(t("The server does not respond. Retrying; nothing on this page is lost."));
      await sleep(wait);
    }
    showBanner("");
    reconnecting = null;
  })());
}

let keyPrompt = null;

function promptForKey(tried) {
  if (tried !== sessionStorage.getItem("key")) return; // another request has asked the user meanwhile
  $("keytrouble").hidden = !tried;
  return (keyPrompt ??= new Promise((done) => {
    const dialog = $("keydialog");
    dialog.showModal();
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without a key
    dialog.onclose = () => {
      sessionStorage.setItem("key", $("key").value);
      $("key").value = "";
      keyPrompt = null;
      done();
    };
  }));
}

export const urlPath = (name) => name.split("/").map(encodeURIComponent).join("/");

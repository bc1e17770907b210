// What counts: the server of `headcount serve`, or a worker in this browser. Both engines have the same functions.

export const inBrowser = document.documentElement.dataset.engine === "browser";

const engine = inBrowser ? import("./browser.js") : import("./remote.js");

/** Open the engine; `say` is told its progress. Returns the models and the limits, as GET /v1/models. */
export const openEngine = async (say) => (await engine).openEngine(say);

/** Count an item with a model: the answer of POST /v1/count. `wanted` is {overlay: true} or {points: true}. */
export const countItem = async (...args) => (await engine).countItem(...args);

/** The example photo, a Blob. */
export const fetchExample = async () => (await engine).fetchExample();

"use strict";
const $ = (id) => document.getElementById(id);
const stage = $("stage");
const IN_FLIGHT = 2; // photos in progress: one is being counted, one is being sent
const REACH = { mouse: 10, pen: 14, touch: 22 }; // how near to a dot a click selects it, screen pixels
const SLIP = 4; // movement that still counts as a click, screen pixels
const VIDEO = /\.(mp4|m4v|mov|webm|mkv|avi|ts|mpe?g|flv|wmv)$/i;

const state = {
  facts: null, // GET /v1/models
  early: [], // files chosen before `facts` arrived
  model: "",
  other: "", // the chosen model, and the one to compare with it
  project: null, // GET /v1/project, if a folder is open
  items: [], // photos and videos, see newItem
  selected: null,
  mode: "view",
  layer: "density",
  opacity: 0.8,
  wipe: 0.5,
  pictures: {}, // of the selected item: photo, density, mask, otherDensity, otherMask
  view: null, // {scale, x, y}: screen = photo * scale + (x, y), CSS pixels; null: fitted
  corners: null, // of the region being drawn, photo pixels
  dot: -1, // index of the selected dot
  pointer: null, // position over the stage, screen pixels
  space: false,
  typed: false, // the space bar is held; the keyboard was used last
};
let serial = 0;

// `regions` and `dots.points` are replaced, never changed in place, so that undo and "is it saved" can compare
// references.
function newItem(kind, name, file) {
  return {
    id: ++serial,
    kind,
    name,
    file,
    state: "idle", // or waiting, counting, done, failed
    note: "",
    error: "",
    permanent: false, // the error would come again
    result: null,
    kept: null, // the result or the rows that were last downloaded
    counted: null, // the regions of the result
    other: null,
    regions: [],
    dots: null,
    marked: null,
    thumb: null,
    stop: new AbortController(),
    job: null,
    row: -1, // the chosen row of the job; -1: its last
  };
}

// The server

/** An error whose message is one line for the user. `permanent`: the same request would fail again. */
class Failure extends Error {
  constructor(message, permanent = false) {
    super(message);
    this.permanent = permanent;
  }
}
const PERMANENT = [400, 413, 415, 422]; // HTTP statuses of requests that can never succeed
const failure = (error) => ({ error: error.message, permanent: Boolean(error.permanent) });
const sleep = (ms, signal) =>
  new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        fail(new Failure("cancelled"));
      },
      { once: true },
    );
  });

/** A response of the server. If the server is unreachable or busy, or requires a key, this waits and tries again. */
async function ask(path, { method = "GET", body, json, signal, blob, say = () => {} } = {}) {
  for (let broken = 0; ;) {
    const headers = {},
      key = sessionStorage.getItem("key");
    if (key) headers.Authorization = `Bearer ${key}`;
    if (json) headers["Content-Type"] = "application/json";
    let answer, said;
    try {
      answer = await fetch(path, { method, headers, signal, body: json ? JSON.stringify(json) : body });
      said = await (blob && answer.ok ? answer.blob() : answer.json().catch(() => ({})));
    } catch (error) {
      if (signal?.aborted) throw new Failure("cancelled");
      await online();
      if (++broken === 3) throw new Failure("the connection failed during the upload"); // although the server is reachable
      continue;
    }
    if (answer.ok) return said;
    if (answer.status === 401) await askKey(key);
    else if (answer.status === 503) await patience(+answer.headers.get("Retry-After") || 2, signal, say);
    else
      throw new Failure(
        said.error || `the server responded with status ${answer.status}`,
        PERMANENT.includes(answer.status),
      );
  }
}

async function patience(seconds, signal, say) {
  for (let left = seconds; left > 0; left--) {
    say(`busy, retrying in ${left} s`);
    await sleep(1000, signal);
  }
  say("");
}

let returning = null; // all requests wait for the same connection attempts
function online() {
  return (returning ??= (async () => {
    for (let wait = 200; ; wait = 2000) {
      const answer = await fetch("/healthz").catch(() => null);
      if (answer?.ok) break;
      banner("The server does not respond. Retrying; nothing on this page is lost.");
      await sleep(wait);
    }
    banner("");
    returning = null;
  })());
}

let asking = null;
function askKey(tried) {
  if (tried !== sessionStorage.getItem("key")) return; // another request has asked the user meanwhile
  $("keytrouble").hidden = !tried;
  return (asking ??= new Promise((done) => {
    const dialog = $("keydialog");
    dialog.showModal();
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without a key
    dialog.onclose = () => {
      sessionStorage.setItem("key", $("key").value);
      $("key").value = "";
      asking = null;
      done();
    };
  }));
}

function banner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text;
}

// The queue

let flying = 0;
let batch = null; // {startedAt, ended}: the photos counted since none was waiting
const pending = () =>
  state.items.filter((item) => item.kind !== "video" && ["waiting", "counting"].includes(item.state)).length;

function pump() {
  batch = pending() ? (batch ?? { startedAt: performance.now(), ended: 0 }) : null;
  for (let item; flying < IN_FLIGHT && (item = state.items.find((one) => one.state === "waiting")); flying++) {
    item.state = "counting";
    count(item).finally(() => {
      flying--;
      if (batch && item.state !== "waiting" && state.items.includes(item)) batch.ended++;
      pump();
    });
  }
  render();
}

async function count(item) {
  const regions = item.regions,
    model = state.model;
  try {
    await giveFile(item);
    checkSize(item.file, state.facts.limits.body);
    if (!item.thumb) await makeThumb(item);
    item.result = await post(item, model, "overlay=true", regions);
    Object.assign(item, { counted: regions, error: "", state: "done" });
    announce(`${item.name}: ${people(item.result.count)}`);
  } catch (error) {
    Object.assign(item, { ...failure(error), state: "failed", result: null });
  }
  if (item.regions !== regions || state.model !== model) item.state = "waiting"; // the regions or the model changed meanwhile
  if (item === state.selected) {
    await openLayers(item);
    compare(item);
  }
}

function post(item, model, query, regions = []) {
  const say = (note) => {
    item.note = note;
    render();
  };
  return ask(`/v1/count?${query}&model=${encodeURIComponent(model)}`, {
    method: "POST",
    body: form(item, regions),
    signal: item.stop.signal,
    say,
  });
}

function form(item, regions) {
  const body = new FormData();
  if (regions.length) body.append("regions", JSON.stringify({ regions }));
  body.append("file", item.file, item.name);
  return body;
}

function checkSize(file, limit) {
  if (file.size > limit) throw new Failure(`${mega(file.size)} MB; this server's limit is ${mega(limit)} MB`, true);
}
const mega = (bytes) => Number((bytes / 1e6).toPrecision(3));

/** Count an item again after its regions or the model changed. */
function recount(item) {
  if (item.kind === "video" || item.state === "idle") return;
  if (item.state !== "counting") item.state = "waiting";
  pump();
}

async function compare(item) {
  const name = state.other;
  if (!name || !item.result || item.other?.model === name) return;
  item.other = { model: name, result: null };
  try {
    const result = await post(item, name, "overlay=true");
    if (item.other?.model !== name) return;
    item.other.result = result;
  } catch (error) {
    item.other = { model: name, error: error.message };
  }
  if (item === state.selected) await openLayers(item);
}

// Files

function addFiles(files) {
  if (!state.facts) return void state.early.push(...files); // start() adds them once the models are known
  const added = [];
  for (const file of files) {
    if (/\.(geo)?json$/i.test(file.name)) {
      loadRegions(file);
      continue;
    }
    const video = file.type.startsWith("video/") || VIDEO.test(file.name);
    const item = newItem(video ? "video" : "photo", file.name || "pasted.png", file);
    if (!video) item.state = "waiting";
    added.push(item);
  }
  state.items.push(...added);
  if (added.length && (!state.selected || !state.items.includes(state.selected) || added.length === 1))
    select(added[0]);
  if (state.mode === "correct" && added.length) setMode("view");
  pump();
}

async function openExample() {
  try {
    addFiles([new File([await ask("/v1/example", { blob: true })], "example.jpg", { type: "image/jpeg" })]);
  } catch (error) {
    announce(error.message, true);
  }
}

/** Fetch a photo of the project when it is first needed. */
async function giveFile(item) {
  item.file ??= await ask(`/v1/project/photos/${address(item.name)}`, { blob: true, signal: item.stop.signal });
}
const address = (name) => name.split("/").map(encodeURIComponent).join("/");

async function picture(source) {
  const image = new Image(),
    url = typeof source === "string" ? source : URL.createObjectURL(source);
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  } finally {
    // this browser cannot show the format; the server still counts it
    if (url !== source) URL.revokeObjectURL(url);
  }
}

/** A paused video element at its first frame; null if this browser cannot play it. */
function film(file) {
  const video = document.createElement("video"),
    url = URL.createObjectURL(file);
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: url });
  video.onseeked = () => {
    draw();
    seekFrame(state.selected);
  }; // another row may have been chosen meanwhile
  return new Promise((done) => {
    video.onloadeddata = () => done(video);
    video.onerror = () => {
      letGo(video);
      done(null);
    };
  });
}
function letGo(video) {
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
}

async function makeThumb(item, image) {
  image ??= await picture(item.file);
  if (!image) return;
  const [width, height] = sizeOf(image),
    scale = Math.max(112 / width, 84 / height);
  item.thumb = Object.assign(document.createElement("canvas"), { width: 112, height: 84 });
  item.thumb
    .getContext("2d")
    .drawImage(image, 56 - (width * scale) / 2, 42 - (height * scale) / 2, width * scale, height * scale);
}
const sizeOf = (image) => [image.videoWidth || image.naturalWidth, image.videoHeight || image.naturalHeight];

async function select(item) {
  if (state.pictures.photo?.videoWidth) letGo(state.pictures.photo);
  Object.assign(state, { selected: item, pictures: {}, view: null, corners: null, dot: -1 });
  if (item?.kind === "project" && state.mode === "view" && item.state === "idle") setMode("correct");
  if (item?.kind === "video" && state.mode === "correct") setMode("view");
  render();
  if (!item) return;
  try {
    await giveFile(item);
    const photo = await (item.kind === "video" ? film(item.file) : picture(item.file));
    if (state.selected !== item) return photo?.videoWidth && letGo(photo);
    state.pictures.photo = photo;
    if (photo && !item.thumb) await makeThumb(item, photo);
  } catch (error) {
    Object.assign(item, failure(error));
  }
  if (state.mode === "correct") openDots(item);
  await openLayers(item);
  compare(item);
}

/** Decode the layers over the selected photo. */
async function openLayers(item) {
  const layers = { ...item.result?.overlay, peak: null },
    others = item.other?.result?.overlay ?? {};
  const sources = { density: layers.density, mask: layers.mask, otherDensity: others.density, otherMask: others.mask };
  const images = await Promise.all(Object.values(sources).map((source) => source && picture(source)));
  if (state.selected === item)
    Object.keys(sources).forEach((name, i) => {
      state.pictures[name] = images[i];
    });
  render();
}

function remove(item) {
  if (unsaved(item) && !confirm(`The dots of ${item.name} are not saved. Remove it anyway?`)) return;
  item.stop.abort();
  if (item.job && ["waiting", "running"].includes(item.job.state)) stopFilm(item);
  const at = state.items.indexOf(item);
  state.items.splice(at, 1);
  if (state.selected === item) select(state.items[at] ?? state.items[at - 1] ?? null);
  render();
}

// Painting: the photo, its layer, its regions and its dots. `at` is {scale, x, y, width, height, unit}; `unit` is the
// width of a thin line.

function size(item = state.selected) {
  if (state.pictures.photo) return sizeOf(state.pictures.photo);
  return item?.result
    ? [item.result.width, item.result.height]
    : item?.dots
      ? [item.dots.width, item.dots.height]
      : null;
}

function fitted() {
  const [width, height] = size(),
    margin = 8,
    buttons = 48; // height of the zoom buttons at the bottom
  const wide = stage.clientWidth - 2 * margin,
    tall = stage.clientHeight - 2 * margin - buttons;
  const scale = Math.min(wide / width, tall / height);
  return { scale, x: margin + (wide - width * scale) / 2, y: margin + (tall - height * scale) / 2 };
}
const view = () => state.view ?? fitted();
const toScreen = ([x, y], at = view()) => [x * at.scale + at.x, y * at.scale + at.y];
const toPhoto = ([x, y], at = view()) => [(x - at.x) / at.scale, (y - at.y) / at.scale];

let drawing = 0;
function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawNow();
  });
}

function drawNow() {
  const ratio = devicePixelRatio || 1,
    context = stage.getContext("2d");
  stage.width = Math.round(stage.clientWidth * ratio);
  stage.height = Math.round(stage.clientHeight * ratio);
  if (!size() || !stage.clientWidth) return;
  context.scale(ratio, ratio);
  paint(context, state.selected, { ...view(), width: stage.clientWidth, height: stage.clientHeight, unit: 1 });
  if (state.mode === "correct" && state.typed && document.activeElement === stage) drawCross(context);
}

function paint(context, item, at) {
  const [width, height] = size(item),
    box = [at.x, at.y, width * at.scale, height * at.scale];
  context.imageSmoothingEnabled = at.scale < 4; // zoomed in, pixels stay sharp squares
  if (state.pictures.photo) context.drawImage(state.pictures.photo, ...box);
  else {
    context.fillStyle = "#888";
    context.fillRect(...box);
  }
  if (state.mode !== "correct") {
    paintLayers(context, at, box);
    paintRegions(context, item, at, width, height);
  } else if (item.dots) paintDots(context, item.dots, at);
  if (state.corners) paintOutline(context, state.corners, at, "#fff", false);
}

function paintLayers(context, at, box) {
  if (state.layer === "none") return;
  const first = state.pictures[state.layer],
    name = state.layer[0].toUpperCase() + state.layer.slice(1);
  const second = state.other && state.mode === "view" ? state.pictures[`other${name}`] : null;
  const edge = second ? box[0] + box[2] * state.wipe : box[0] + box[2];
  context.imageSmoothingEnabled = true;
  paintPart(context, first, box, box[0], edge);
  if (!second) return;
  paintPart(context, second, box, edge, box[0] + box[2]);
  context.fillStyle = "#fff";
  context.fillRect(edge - at.unit, box[1], 2 * at.unit, box[3]);
}

function paintPart(context, image, box, left, right) {
  if (!image) return;
  context.save();
  context.beginPath();
  context.rect(left, box[1], right - left, box[3]);
  context.clip();
  context.globalAlpha = state.opacity;
  context.drawImage(image, ...box);
  context.restore();
}

function paintRegions(context, item, at, width, height) {
  for (const region of item.regions) {
    const corners = region.polygon.map(([x, y]) => [x * width, y * height]),
      told = regionCount(item, region);
    paintOutline(context, corners, at, told?.over ? "#ff6b5e" : "#fff", true);
    const [x, y] = toScreen(middle(corners), at);
    plate(
      context,
      told ? `${region.name}  ${whole(told.count)}${told.over ? ", too many" : ""}` : region.name,
      x,
      y,
      at.unit,
    );
  }
}
const middle = (corners) =>
  [0, 1].map((axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length);

function paintOutline(context, corners, at, colour, closed) {
  context.beginPath();
  corners.forEach((corner, i) => context[i ? "lineTo" : "moveTo"](...toScreen(corner, at)));
  if (closed) context.closePath();
  else if (state.pointer) context.lineTo(...state.pointer);
  context.lineJoin = "round";
  for (const [tint, width] of [
    ["#14181ecc", 5],
    [colour, 2],
  ]) {
    // a light line over a dark one is visible on any background
    Object.assign(context, { strokeStyle: tint, lineWidth: width * at.unit });
    context.stroke();
  }
  if (!closed) corners.forEach((corner, i) => disc(context, toScreen(corner, at), i ? 4 : 6, at.unit, "#fff"));
}

function plate(context, text, x, y, unit, big = 13) {
  context.font = `600 ${big * unit}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + 14 * unit,
    tall = (big + 11) * unit;
  context.fillStyle = "#14181ee0";
  context.beginPath();
  context.roundRect(x - wide / 2, y - tall / 2, wide, tall, 6 * unit);
  context.fill();
  Object.assign(context, { fillStyle: "#fff", textBaseline: "middle", textAlign: "center" });
  context.fillText(text, x, y + unit);
}

function paintDots(context, dots, at) {
  const radius = Math.min(6, Math.max(2.6, at.scale * 3));
  dots.points.forEach((point, i) => {
    const [x, y] = toScreen(point, at);
    if (x < -9 || y < -9 || x > at.width + 9 || y > at.height + 9) return;
    if (i === state.dot) {
      disc(context, [x, y], radius + 5, at.unit, "#fff");
      disc(context, [x, y], radius + 2, at.unit, "#d3188c");
    } else disc(context, [x, y], radius, at.unit, "#ffd23f");
  });
}

function disc(context, [x, y], radius, unit, colour) {
  context.beginPath();
  context.arc(x, y, radius * unit, 0, 7);
  Object.assign(context, { fillStyle: colour, strokeStyle: "#14181e", lineWidth: 1.5 * unit });
  context.fill();
  context.stroke();
}

function drawCross(context) {
  const x = stage.clientWidth / 2,
    y = stage.clientHeight / 2;
  context.beginPath();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    context.moveTo(x + 5 * dx, y + 5 * dy);
    context.lineTo(x + 15 * dx, y + 15 * dy);
  }
  for (const [tint, width] of [
    ["#14181e", 4],
    ["#fff", 1.5],
  ]) {
    Object.assign(context, { strokeStyle: tint, lineWidth: width });
    context.stroke();
  }
}

// Zooming and panning

function zoom(factor, centre = [stage.clientWidth / 2, stage.clientHeight / 2]) {
  if (!size()) return;
  const old = view(),
    least = fitted().scale,
    scale = Math.min(Math.max(old.scale * factor, least), Math.max(40, least));
  const [x, y] = toPhoto(centre, old);
  state.view = scale <= least ? null : kept({ scale, x: centre[0] - x * scale, y: centre[1] - y * scale });
  cursor();
}

function pan(dx, dy) {
  const old = view();
  if (state.view) state.view = kept({ ...old, x: old.x + dx, y: old.y + dy });
  draw();
}

/** The nearest view that still shows some of the photo. */
function kept(at) {
  const [width, height] = size(),
    room = (length, start, side) => Math.min(side / 2, Math.max(side / 2 - length * at.scale, start));
  return { ...at, x: room(width, at.x, stage.clientWidth), y: room(height, at.y, stage.clientHeight) };
}

function cursor() {
  stage.className = state.space ? "pans" : state.mode !== "view" ? "edits" : state.view ? "pans" : "";
  draw();
}

const fingers = new Map(); // the pointers that are down
let grip = null; // the gesture in progress
const place = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

stage.onpointerdown = (event) => {
  if (!size()) return;
  const here = place(event);
  state.typed = false;
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, here);
  if (fingers.size === 2) {
    endDrag();
    grip = { kind: "pinch" };
    return;
  }
  if (event.button === 2 || fingers.size > 2) return;
  const hand = state.space || event.button === 1,
    dot = state.mode === "correct" && !hand ? dotAt(here, event.pointerType) : -1;
  grip = {
    kind: dot >= 0 ? "dot" : "pan",
    dot,
    start: here,
    moved: false,
    clicks: !hand,
    alt: event.altKey,
    before: state.selected.dots?.points,
  };
};

stage.onpointermove = (event) => {
  const here = place(event),
    last = fingers.get(event.pointerId);
  state.pointer = here;
  if (last) fingers.set(event.pointerId, here);
  if (last && grip?.kind === "pinch") pinch(event.pointerId, last, here);
  else if (last && grip && (grip.moved ||= distance(here, grip.start) > SLIP)) {
    if (grip.kind === "pan") pan(here[0] - last[0], here[1] - last[1]);
    else moveDot(grip.dot, toPhoto(here));
  }
  if (state.corners) draw();
};

stage.onpointerup = (event) => {
  const done = grip,
    here = place(event);
  fingers.delete(event.pointerId);
  if (!done || done.kind === "pinch") {
    if (!fingers.size) grip = null;
    return;
  }
  if (done.moved) endDrag();
  else if (done.clicks) click(here, done, event.pointerType);
  grip = null;
};
stage.onpointercancel = (event) => {
  fingers.delete(event.pointerId);
  endDrag();
  grip = null;
};
stage.onpointerleave = () => {
  state.pointer = null;
  if (state.corners) draw();
};
stage.oncontextmenu = (event) => {
  // also sent for a long press
  if (state.mode !== "correct") return;
  event.preventDefault();
  grip = null;
  deleteDot(dotAt(place(event), event.pointerType));
};
stage.ondblclick = () => {
  if (state.corners) closeRegion();
  else if (state.mode === "view") {
    state.view = null;
    cursor();
  }
};
stage.addEventListener(
  "wheel",
  (event) => {
    if (!size()) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), place(event));
  },
  { passive: false },
);

function pinch(id, last, here) {
  const other = [...fingers].find(([one]) => one !== id)[1];
  zoom(distance(here, other) / Math.max(1, distance(last, other)), [
    (last[0] + other[0]) / 2,
    (last[1] + other[1]) / 2,
  ]);
  pan((here[0] - last[0]) / 2, (here[1] - last[1]) / 2);
}

function click(here, { dot, alt }, hand) {
  if (state.mode === "region") addCorner(here, REACH[hand] ?? REACH.mouse);
  if (state.mode !== "correct" || !state.selected.dots) return;
  if (dot >= 0 && alt) deleteDot(dot);
  else if (dot >= 0) {
    state.dot = dot;
    render();
  } else addDot(toPhoto(here));
}

// Regions

function addCorner(here, reach) {
  const [width, height] = size(),
    [x, y] = toPhoto(here);
  if (state.corners?.length > 2 && distance(here, toScreen(state.corners[0])) < reach) return closeRegion();
  state.corners = [...(state.corners ?? []), [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)]];
  announce(`Corner ${state.corners.length}`);
  render();
}

function closeRegion() {
  const [width, height] = size(),
    item = state.selected;
  const corners = state.corners.filter((corner, i, all) => !i || distance(toScreen(corner), toScreen(all[i - 1])) > 3);
  if (corners.length < 3) return announce("A region needs at least three corners");
  state.corners = null;
  const polygon = corners.map(([x, y]) => [round(x / width, 5), round(y / height, 5)]);
  setRegions(item, [...item.regions, { name: freeName(item.regions, "Region"), polygon, units: "fractions" }]);
}
const round = (value, digits) => Number(value.toFixed(digits));

function freeName(regions, stem) {
  for (let i = 1; ; i++) if (!regions.some((region) => region.name === `${stem} ${i}`)) return `${stem} ${i}`;
}

function setRegions(item, regions) {
  Object.assign(item, { regions, permanent: false }); // the regions may have been the fault
  recount(item);
  render();
}

function changeRegion(item, i, change) {
  const name = change.name?.trim();
  if ("name" in change && (!name || item.regions.some((region, j) => j !== i && region.name === name))) return render();
  setRegions(
    item,
    item.regions.map((region, j) => (j === i ? { ...region, ...change, name: name ?? region.name } : region)),
  );
}

/** The count in a region; null until the region, as it now is, was counted. */
const regionCount = (item, region) =>
  item.counted?.includes(region) ? item.result?.regions?.[item.counted.indexOf(region)] : null;

const regionLine = (region) =>
  `${region.name}: ${region.polygon.map((corner) => corner.map((value) => round(value, 4)).join(",")).join(" ")}`;
function readLines(text, old) {
  return text
    .split("\n")
    .filter((line) => line.trim())
    .map((line) => {
      const at = line.lastIndexOf(":"),
        name = line.slice(0, at).trim();
      const polygon = line
        .slice(at + 1)
        .trim()
        .split(/\s+/)
        .map((corner) => corner.split(",").map(Number));
      const good =
        polygon.length > 2 &&
        polygon.every((corner) => corner.length === 2 && corner.every((value) => value >= 0 && value <= 1));
      if (at < 1 || !good)
        throw new Failure(`"${line.slice(0, 40)}": write name: x,y x,y x,y with numbers from 0 to 1`);
      return { name, polygon, units: "fractions", ...keepMax(old, name) };
    });
}
const keepMax = (old, name) => {
  const max = old.find((region) => region.name === name)?.max;
  return max ? { max } : {};
};

async function loadRegions(file) {
  const item = state.selected;
  try {
    if (!item) throw new Error("add a photo first");
    const found = JSON.parse(await file.text()).regions,
      [width, height] = size();
    setRegions(
      item,
      found.map((one) =>
        one.units === "fractions"
          ? one
          : {
              ...one,
              units: "fractions",
              ground: undefined,
              polygon: one.polygon.map(([x, y]) => [x / width, y / height]),
            },
      ),
    );
    setMode("region");
  } catch (error) {
    announce(`${file.name}: no usable regions: ${error.message}`, true);
  }
}

// Dots

async function openDots(item) {
  if (!item || item.dots || item.kind === "video" || item.opening) return;
  item.opening = true;
  render();
  try {
    await giveFile(item);
    const told =
      item.kind === "project"
        ? await ask(`/v1/project/points/${address(item.name)}`, { signal: item.stop.signal })
        : await post(item, state.model, "points=true");
    const [width, height] = [told.width, told.height],
      points = told.points;
    item.dots = {
      points,
      width,
      height,
      past: [],
      future: [],
      kept: points,
      estimate: told.saved ? null : points.length,
    };
    announce(`${points.length} dots`);
  } catch (error) {
    Object.assign(item, failure(error));
  }
  item.opening = false;
  render();
}

const outcome = (item) => item.result ?? (item.job?.rows.length ? item.job.rows : null);

/** Whether closing the page would lose work on an item. */
const atRisk = (item) =>
  unsaved(item) || (item.kind !== "project" && (item.state === "counting" || outcome(item) !== item.kept));

const unsaved = (item) => Boolean(item.dots && item.dots.points !== item.dots.kept);

function edit(points, said, nudge = -1) {
  const dots = state.selected.dots;
  if (nudge < 0 || dots.nudge !== nudge) dots.past.push(dots.points); // successive arrow keys are one undo step
  Object.assign(dots, { points, future: [], nudge });
  announce(said);
  render();
}

function inside([x, y]) {
  const { width, height } = state.selected.dots;
  return [round(Math.min(Math.max(x, 0), width - 0.01), 2), round(Math.min(Math.max(y, 0), height - 0.01), 2)];
}

function dotAt(here, hand) {
  const points = state.selected.dots?.points ?? [],
    at = view();
  let best = -1,
    reach = REACH[hand] ?? REACH.mouse;
  points.forEach((point, i) => {
    const far = distance(toScreen(point, at), here);
    if (far <= reach) {
      best = i;
      reach = far;
    }
  });
  return best;
}

function addDot(point) {
  const { points, width, height } = state.selected.dots;
  if (point[0] < 0 || point[1] < 0 || point[0] > width || point[1] > height) {
    state.dot = -1;
    return render();
  }
  state.dot = points.length;
  edit([...points, inside(point)], `Dot added, ${points.length + 1} dots`);
}

function moveDot(i, point) {
  // during a drag; endDrag makes it one undo step
  const dots = state.selected.dots;
  state.dot = i;
  dots.points = dots.points.map((one, j) => (j === i ? inside(point) : one));
  draw();
}

function endDrag() {
  const dots = state.selected?.dots;
  if (grip?.kind !== "dot" || !grip.moved || !dots) return;
  const moved = dots.points;
  dots.points = grip.before;
  edit(moved, "Dot moved");
}

function deleteDot(i) {
  const dots = state.selected?.dots;
  if (!dots || i < 0 || i >= dots.points.length) return;
  state.dot = -1;
  edit(
    dots.points.filter((_, j) => j !== i),
    `Dot deleted, ${dots.points.length - 1} dots`,
  );
}

function nudge(dx, dy) {
  const i = state.dot,
    [x, y] = state.selected.dots.points[i],
    moved = inside([x + dx, y + dy]);
  edit(
    state.selected.dots.points.map((one, j) => (j === i ? moved : one)),
    `Dot at ${moved.map(Math.round).join(", ")}`,
    i,
  );
}

function stepDot(by) {
  const count = state.selected.dots.points.length;
  if (!count) return announce("No dots");
  state.dot = state.dot < 0 ? (by > 0 ? 0 : count - 1) : (state.dot + by + count) % count;
  const point = state.selected.dots.points[state.dot],
    [x, y] = toScreen(point);
  if (state.view && (x < 20 || y < 20 || x > stage.clientWidth - 20 || y > stage.clientHeight - 20))
    pan(stage.clientWidth / 2 - x, stage.clientHeight / 2 - y);
  announce(`Dot ${state.dot + 1} of ${count}, at ${point.map(Math.round).join(", ")}`);
  render();
}

function travel(from, to) {
  // undo, redo
  const dots = state.selected?.dots;
  if (state.mode !== "correct" || !dots?.[from].length) return;
  dots[to].push(dots.points);
  Object.assign(dots, { points: dots[from].pop(), nudge: -1 });
  state.dot = -1;
  announce(`${from === "past" ? "Undone" : "Redone"}, ${dots.points.length} dots`);
  render();
}

async function save(item = state.selected) {
  if (item?.kind !== "project" || !item.dots || item.saving) return;
  const points = item.dots.points;
  item.saving = true;
  render();
  try {
    await ask(`/v1/project/points/${address(item.name)}`, { method: "PUT", json: { points } });
    Object.assign(item, { marked: points.length, error: "" });
    item.dots.kept = points;
    announce(`Saved, ${progressText()}`);
  } catch (error) {
    Object.assign(item, failure(error));
    announce(error.message);
  }
  item.saving = false;
  render();
}

function step(by) {
  const next = state.items[state.items.indexOf(state.selected) + by];
  if (next) select(next).then(() => $("list").querySelector(".chosen")?.scrollIntoView({ block: "nearest" }));
}

const progressText = () => {
  const photos = state.items.filter((item) => item.kind === "project");
  return `${photos.filter((item) => item.marked !== null).length} of ${photos.length} saved`;
};

// Videos

async function startFilm(item) {
  Object.assign(item, { state: "counting", error: "", note: "sending", job: null, every: $("every").value, row: -1 });
  render();
  const say = (note) => {
    item.note = note;
    render();
  };
  try {
    checkSize(item.file, state.facts.limits.video);
    const query = new URLSearchParams({ model: state.model, every: item.every });
    const job = await ask(`/v1/video?${query}`, {
      method: "POST",
      body: form(item, item.regions),
      signal: item.stop.signal,
      say,
    });
    item.job = { ...job, rows: [] };
    item.note = "";
    await follow(item, item.job);
  } catch (error) {
    Object.assign(item, { ...failure(error), state: "failed" });
  }
  render();
}

async function follow(item, job) {
  for (let wait = 250; item.job === job; wait = Math.min(wait * 1.3, 1500)) {
    const told = await ask(`/v1/jobs/${job.id}?since=${job.rows.length}`, { signal: item.stop.signal });
    Object.assign(job, told, { rows: [...job.rows, ...told.rows] });
    render();
    if (!["waiting", "running"].includes(job.state)) break;
    await sleep(wait, item.stop.signal);
  }
  if (item.job !== job) return;
  Object.assign(item, { state: job.state === "failed" ? "failed" : "done", error: job.error ?? "" });
  announce(`${item.name}: ${job.state}, ${job.rows.length} frames counted`);
}

async function stopFilm(item) {
  if (!item.job) return;
  await ask(`/v1/jobs/${item.job.id}`, { method: "DELETE" }).catch((error) => announce(error.message));
  render();
}

/** The row whose number is shown. */
const shownRow = ({ job, row }) => job?.rows[row] ?? job?.rows.at(-1);

function chooseRow(item, i) {
  item.row = i;
  seekFrame(item);
  renderFilm(item);
  renderNumber(item);
}

/** Seek the video to the frame that was counted for the shown row; `onseeked` calls this again. */
function seekFrame(item) {
  const video = state.pictures.photo,
    row = item && shownRow(item);
  if (!row || !video?.videoWidth || video.seeking || video.soughtTime === row.time) return;
  video.soughtTime = row.time;
  video.currentTime = Math.min(row.time + 0.001, video.duration || row.time);
}

const CHART = { height: 240, left: 46, right: 12, top: 12, bottom: 28 };

function chart(item) {
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
  const node = shape("svg", {
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
      shape("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      shape("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, tick(value, step)),
    );
  }
  for (let time = 0; time <= end * 1.0001; time += pace)
    node.append(
      shape(
        "text",
        { x: x(time), y: height - 8, "text-anchor": "middle" },
        end < 10 ? `${round(time, 2)} s` : clock(time),
      ),
    );
  if (rows.every((row) => row.low !== null))
    node.append(
      shape("path", {
        class: "band",
        d: `${line(rows.map((row) => row.high))}${rows
          .toReversed()
          .map((row) => `L${x(row.time)} ${y(row.low)}`)
          .join("")}Z`,
      }),
    );
  (rows[0].regions ?? []).forEach((_, i) =>
    node.append(shape("path", { class: "region", d: line(rows.map((row) => row.regions[i].count)) })),
  );
  node.append(shape("path", { class: "line", d: line(rows.map((row) => row.count)) }));
  node.append(
    shape("line", { class: "rule", x1: x(chosen.time), x2: x(chosen.time), y1: top, y2: height - bottom }),
    shape("circle", { cx: x(chosen.time), cy: y(chosen.count), r: 5 }),
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
const rowText = (row) =>
  `${round(row.time, 2)} s: ${people(row.count)}${(row.regions ?? []).map((one) => `, ${one.name} ${whole(one.count)}`).join("")}`;

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}
const tick = (value, step) => (step < 1 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// Rendering. render() rebuilds everything, at most once per frame.

const whole = (value) => Math.max(0, Math.round(value)).toLocaleString("en");
const people = (value) => `${whole(value)} ${Math.round(value) === 1 ? "person" : "people"}`;

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props))
    if (name in node) node[name] = value;
    else if (value !== null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
function shape(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const icon = (name) => shape("svg", { class: "icon", "aria-hidden": "true" }, shape("use", { href: `#i-${name}` }));

/** Replace the children of `parent`. Focus and unfinished input move to the new element with the same id. */
function fill(parent, ...children) {
  const held = parent.contains(document.activeElement) ? document.activeElement : null,
    text = held?.value;
  parent.replaceChildren(...children);
  const heir = held?.id && $(held.id);
  if (!heir || heir === held) return;
  if (held.tagName === "INPUT") heir.value = text;
  heir.focus({ preventScroll: true });
}

function announce(text, loud = false) {
  $("live").textContent = text;
  if (!loud) return;
  banner(text);
  setTimeout(() => $("banner").textContent === text && banner(""), 8000);
}

let rendering = 0;
function render() {
  rendering ||= requestAnimationFrame(() => {
    rendering = 0;
    renderNow();
  });
}

function renderNow() {
  const item = state.selected,
    film = item?.kind === "video";
  $("loading").hidden = Boolean(state.facts);
  $("welcome").hidden = !state.facts || state.items.length > 0;
  $("work").hidden = !state.facts || !state.items.length;
  renderList();
  if (!item) return;
  $("correctbox").hidden = film;
  for (const name of ["mode", "layer"])
    for (const input of document.getElementsByName(name)) input.checked = input.value === state[name];
  const layered = state.mode !== "correct" && !film;
  $("layers").hidden = !layered;
  $("opacitybox").hidden = !layered;
  $("opacity").disabled = state.layer === "none"; // hiding it would make the photo jump
  $("frame").classList.toggle("short", film || Boolean(item.error && !size()));
  $("drawing").hidden = !state.corners;
  renderNumber(item);
  renderCompare(item);
  renderRegions(item);
  renderDots(item);
  renderVideo(item);
  const busy = !film && busyText(item),
    unseen = state.pictures.photo === null && !size() && !item.error;
  $("busy").hidden = !busy && !unseen;
  if (busy) fill($("busy"), spinner(), busy);
  else if (unseen) fill($("busy"), "This browser cannot show this file. headcount can still count it.");
  stage.setAttribute("aria-label", `${item.name}, ${statusText(item)}`);
  $("hint").textContent = HINTS[state.mode];
  cursor();
}

const HINTS = {
  view: "Scroll or pinch to zoom, drag to move, double-click to fit.",
  region: "Click corners; double-click or press Enter to close. Drag to move the photo.",
  correct:
    "Click to add, drag to move, right-click to delete. N and P step through the dots, arrow keys move one, A adds one in the center.",
};

const spinner = () => el("span", { className: "spinner" });

/** What is being done with a photo now; empty if nothing. */
function busyText(item) {
  if (item.opening) return "Finding heads";
  return { waiting: "Waiting", counting: item.note || "Counting" }[item.state] ?? "";
}

function statusText(item) {
  if (item.note) return item.note;
  if (item.state === "waiting") return "waiting";
  if (item.state === "counting") return item.kind === "video" ? filmText(item.job) : "counting";
  if (item.error) return item.error;
  if (unsaved(item)) return item.kind === "project" ? "not saved" : `${item.dots.points.length} dots`;
  if (item.marked !== null) return `${item.marked} saved`;
  if (item.kind === "video") return item.job ? filmText(item.job) : "video, not counted yet";
  return item.result ? whole(item.result.count) : "not saved yet";
}
const filmText = (job) =>
  !job
    ? "sending"
    : `${job.state === "running" ? "counting" : job.state}, ${job.rows.length} ${job.rows.length === 1 ? "frame" : "frames"}`;

function renderList() {
  const counted = state.items.filter((item) => item.result),
    total = counted.reduce((sum, item) => sum + item.result.count, 0);
  const failed = state.items.filter((item) => item.error).length;
  $("total").textContent = state.project
    ? progressText()
    : (counted.length
        ? `${people(total)} in ${counted.length} ${counted.length === 1 ? "photo" : "photos"}`
        : "Photos") + (failed ? `; ${failed} not counted` : "");
  renderOverall();
  $("list").classList.toggle("folder", Boolean(state.project));
  $("adders").hidden = Boolean(state.project);
  for (const button of document.querySelectorAll(".saves")) button.disabled = !counted.length;
  $("place").textContent = state.project?.name ?? "";
  fill($("list"), ...state.items.map(listRow));
}

function renderOverall() {
  const left = pending(),
    ended = batch?.ended ?? 0;
  $("overall").hidden = !left || left + ended < 2;
  if ($("overall").hidden) return;
  const seconds = ((performance.now() - batch.startedAt) / 1000 / ended) * left;
  Object.assign($("overallbar"), { max: left + ended, value: ended });
  $("overalltext").textContent =
    `${ended} of ${left + ended} photos${ended > 1 ? `, about ${duration(seconds)} left` : ""}`;
}
const duration = (seconds) => (seconds < 55 ? `${5 * Math.ceil(seconds / 5)} s` : `${Math.ceil(seconds / 60)} min`);

function listRow(item) {
  const status = statusText(item),
    failed = item.error && !item.note,
    number = item.result && item.state === "done" && !failed && status === whole(item.result.count);
  const mark =
    item.thumb ??
    (failed
      ? null
      : el(
          "span",
          { className: "blank" },
          icon(item.marked !== null ? "check" : item.kind === "video" ? "video" : "file"),
        ));
  const pick = el(
    "button",
    {
      className: "pick",
      id: `pick${item.id}`,
      title: failed ? item.error : item.name,
      "aria-current": item === state.selected ? "true" : null,
      onclick: () => select(item),
    },
    mark,
    el(
      "span",
      { className: "words" },
      el("span", { className: "name" }, item.name),
      el(
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
      : el(
          "button",
          {
            className: "plain remove",
            id: `remove${item.id}`,
            "aria-label": `Remove ${item.name}`,
            onclick: () => remove(item),
          },
          icon("close"),
        );
  return el("li", { className: `${item === state.selected ? "chosen" : ""} ${failed ? "failed" : ""}` }, pick, away);
}

function renderNumber(item) {
  const told = numbers(item);
  $("big").hidden = !told.big;
  $("number").classList.toggle("failed", Boolean(item.error && !told.big));
  $("big").textContent = told.big;
  fill($("unit"), ...(told.busy ? [spinner()] : []), told.unit);
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
function numbers(item) {
  const { result, dots, job } = item;
  if (item.kind === "video")
    return job?.rows.length
      ? filmNumbers(item, job.rows)
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
    big: whole(result.count),
    unit: Math.round(result.count) === 1 ? "person" : "people",
    interval: result.low === null ? "" : `Likely ${whole(result.low)} to ${whole(result.high)}.`,
    facts: `${result.width} × ${result.height}, ${result.seconds.toFixed(2)} s, ${result.model}`,
  };
}

function filmNumbers(item, rows) {
  const row = shownRow(item),
    mean = rows.reduce((sum, one) => sum + one.count, 0) / rows.length;
  const top = rows.reduce((best, one) => (one.count > best.count ? one : best));
  return {
    big: whole(row.count),
    unit: `${Math.round(row.count) === 1 ? "person" : "people"} at ${round(row.time, 2)} s`,
    interval: `Mean ${whole(mean)}; maximum ${whole(top.count)} at ${round(top.time, 2)} s.`,
    facts: `${rows.length} frames, ${item.job.model ?? state.model}`,
  };
}

function renderCompare(item) {
  const others = state.facts.models.map((model) => model.name).filter((name) => name !== state.model);
  $("compare").hidden = !others.length || state.mode !== "view" || item.kind === "video";
  fill(
    $("other"),
    ...["", ...others].map((name) => el("option", { value: name, selected: name === state.other }, name || "none")),
  );
  const second = item.other,
    both = state.other && item.result && second?.model === state.other && state.mode === "view";
  $("pair").hidden = !both;
  $("wipebox").hidden = !(both && second.result && state.layer !== "none");
  if (!both) return;
  fill(
    $("pair"),
    ...[
      [item.result.model, item.result],
      [second.model, second.result],
    ].map(([name, result]) =>
      el(
        "div",
        {},
        el("span", { className: "small soft" }, name),
        result || !second.error
          ? el("b", {}, result ? whole(result.count) : "…")
          : el("p", { className: "small bad" }, second.error),
      ),
    ),
  );
  $("wipea").textContent = item.result.model;
  $("wipeb").textContent = second.model;
}

function renderRegions(item) {
  $("regions").hidden = state.mode !== "region" && !(item.regions.length && state.mode === "view");
  $("regionshelp").hidden = state.mode !== "region";
  $("regiontable").hidden = $("regiontools").hidden = !item.regions.length;
  if ($("regions").hidden) return;
  fill($("regiontable").tBodies[0], ...item.regions.map((region, i) => regionRow(item, region, i)));
  const lines = item.regions.map(regionLine).join("\n");
  if ($("corners").dataset.shown !== lines + item.id) {
    $("corners").value = lines;
    $("corners").dataset.shown = lines + item.id;
  }
}

function regionRow(item, region, i) {
  const told = regionCount(item, region);
  return el(
    "tr",
    {},
    el(
      "td",
      {},
      el("input", {
        id: `name${i}`,
        value: region.name,
        maxLength: 60,
        "aria-label": `Name of region ${i + 1}`,
        onchange: (event) => changeRegion(item, i, { name: event.target.value }),
      }),
    ),
    el(
      "td",
      { className: `right number ${told?.over ? "bad" : ""}` },
      told ? el("b", {}, whole(told.count)) : item.kind === "video" ? "" : "…",
      told?.over ? el("span", { className: "small" }, "too many") : "",
    ),
    el(
      "td",
      {},
      el("input", {
        id: `max${i}`,
        type: "number",
        min: 1,
        value: region.max ?? "",
        "aria-label": `Maximum number of people in ${region.name}`,
        onchange: (event) =>
          changeRegion(item, i, { max: event.target.valueAsNumber > 0 ? event.target.valueAsNumber : undefined }),
      }),
    ),
    el(
      "td",
      { className: "right" },
      el(
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

function renderDots(item) {
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
      ? `${progressText()}. ${dots && unsaved(item) ? "This photo has unsaved changes." : item.marked !== null ? "This photo is saved." : "These dots are the model's estimate; correct them, then save."}`
      : "Put a dot on each head, then save the dots as CSV.";
}

function renderVideo(item) {
  const film = item.kind === "video",
    running = item.state === "counting";
  $("video").hidden = !film;
  $("film").hidden = !film || !item.job?.rows.length;
  if (!film) return;
  $("progress").hidden = !running;
  if (item.job?.progress != null) $("progress").value = item.job.progress;
  else $("progress").removeAttribute("value");
  $("filmstate").textContent =
    item.job || running ? statusText(item) : "To count only part of the frame, draw regions first.";
  $("startfilm").hidden = running || item.permanent;
  $("startfilm").textContent = item.job ? "Count again" : "Count this video";
  $("stopfilm").hidden = !running || !item.job;
  if ($("film").hidden) return;
  renderFilm(item);
  seekFrame(item);
}

function renderFilm(item) {
  const { rows } = item.job,
    regions = rows[0].regions ?? [];
  fill($("chart"), chart(item));
  $("readout").textContent = rowText(shownRow(item));
  const head = ["Seconds", "People", ...regions.map((region) => region.name)];
  if ($("rows").open)
    fill(
      $("rows").lastElementChild,
      el(
        "table",
        {},
        el("caption", { className: "away" }, `People in ${item.name} over time`),
        el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
        el(
          "tbody",
          {},
          ...rows.map((one) =>
            el(
              "tr",
              { className: "number" },
              el("td", {}, String(round(one.time, 2))),
              el("td", {}, whole(one.count)),
              ...(one.regions ?? []).map((region) => el("td", {}, whole(region.count))),
            ),
          ),
        ),
      ),
    );
}

// Downloads

function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
const stem = (name) =>
  name
    .split("/")
    .at(-1)
    .replace(/\.[^.]*$/, "") || "photo";
// A spreadsheet would run a text that begins like a formula.
const cell = (value) => {
  const text = typeof value === "string" ? value.replace(/^(?=[=+\-@\t])/, "'") : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = (columns, rows) =>
  [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((row) => row.map(cell).join(","))
    .join("\r\n") + "\r\n";
const regionCells = (row) =>
  Object.fromEntries((row?.regions ?? []).map((region) => [`region: ${region.name}`, region.count]));
const columns = (first, rows) => [...new Set([...first, ...rows.flatMap(Object.keys)])];

function countsCsv() {
  const rows = state.items
    .filter((item) => item.result || item.error)
    .map((item) => {
      const { count, low, high, width, height, seconds, model, warning } = item.result ?? {};
      return {
        file: item.name,
        count,
        low,
        high,
        width,
        height,
        seconds,
        model,
        warning,
        error: item.error,
        ...regionCells(item.result),
      };
    });
  return csv(columns(["file"], rows), rows);
}

function filmCsv(item) {
  const rows = item.job.rows.map((row) => ({
    time: row.time,
    count: row.count,
    low: row.low,
    high: row.high,
    ...regionCells(row),
  }));
  return csv(columns(["time"], rows), rows);
}

const dotsCsv = (item) =>
  csv(
    ["image", "x", "y"],
    item.dots.points.map(([x, y]) => ({ image: item.name, x, y })),
  );

function everything() {
  const videos = state.items
    .filter((item) => item.job)
    .map((item) => ({
      file: item.name,
      every: item.every,
      model: item.job.model,
      rows: item.job.rows,
      drawn: item.regions,
    }));
  const photos = state.items
    .filter((item) => item.kind !== "video")
    .map((item) => {
      const { overlay, ...result } = item.result ?? {};
      return {
        file: item.name,
        ...result,
        drawn: item.regions,
        dots: item.dots?.points,
        error: item.error || undefined,
      };
    });
  return JSON.stringify({ headcount: state.facts.version, photos, videos }, null, 1);
}

function png(item) {
  const [width, height] = size(),
    scale = Math.min(1, 4096 / Math.max(width, height)),
    sheet = document.createElement("canvas");
  Object.assign(sheet, { width: Math.round(width * scale), height: Math.round(height * scale) });
  const context = sheet.getContext("2d"),
    unit = Math.max(0.5, Math.min(sheet.width, sheet.height) / 700),
    told = numbers(item),
    pointer = state.pointer;
  paint(context, item, { scale, x: 0, y: 0, width: sheet.width, height: sheet.height, unit });
  if (told.big) {
    const text = `${told.big} ${told.unit}`;
    context.font = `600 ${26 * unit}px system-ui, sans-serif`;
    plate(context, text, context.measureText(text).width / 2 + 21 * unit, 32 * unit, unit, 26);
  }
  sheet.toBlob((blob) => download(`${stem(item.name)}-count.png`, blob));
}

// The camera

async function openCamera() {
  $("cameratrouble").hidden = true;
  $("shoot").disabled = true;
  $("cameradialog").showModal();
  try {
    if (!navigator.mediaDevices) throw new Error("browsers allow the camera only on https pages and on localhost");
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
    if (!$("cameradialog").open) return stopStream(stream);
    $("camera").srcObject = stream;
    $("shoot").disabled = false;
  } catch (error) {
    $("cameratrouble").hidden = false;
    $("cameratrouble").textContent = `No camera: ${error.message}`;
  }
}
const stopStream = (stream) => stream?.getTracks().forEach((track) => track.stop());
$("cameradialog").onclose = () => {
  stopStream($("camera").srcObject);
  $("camera").srcObject = null;
};

function shoot() {
  const video = $("camera"),
    sheet = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  sheet.getContext("2d").drawImage(video, 0, 0);
  $("cameradialog").close();
  sheet.toBlob(
    (blob) =>
      addFiles([
        new File([blob], `camera ${new Date().toLocaleTimeString("en-GB").replaceAll(":", "-")}.jpg`, {
          type: "image/jpeg",
        }),
      ]),
    "image/jpeg",
    0.92,
  );
}

// Actions

const actions = {
  choose: () => $("files").click(),
  example: openExample,
  camera: openCamera,
  shoot,
  endcamera: () => $("cameradialog").close(),
  csv: () => {
    download("counts.csv", countsCsv(), "text/csv");
    state.items.forEach((item) => {
      if (item.kind !== "video") item.kept = outcome(item);
    });
  },
  json: () => {
    download("counts.json", everything(), "application/json");
    state.items.forEach((item) => {
      item.kept = outcome(item);
    });
  },
  png: () => size() && png(state.selected),
  smaller: () => zoom(1 / 1.4),
  larger: () => zoom(1.4),
  fit: () => {
    state.view = null;
    cursor();
  },
  again: () => {
    const item = state.selected;
    item.error = "";
    if (state.mode === "correct") openDots(item);
    else {
      item.state = "waiting";
      pump();
    }
  },
  copyregions: () => {
    const { regions, name } = state.selected;
    state.items.forEach((item) => {
      if (item.kind !== "video" && item.name !== name) setRegions(item, regions);
    });
    announce("These regions now apply to all photos");
  },
  saveregions: () =>
    download("regions.json", JSON.stringify({ regions: state.selected.regions }, null, 1), "application/json"),
  corners: () => {
    const trouble = $("cornerstrouble");
    trouble.hidden = true;
    try {
      setRegions(state.selected, readLines($("corners").value, state.selected.regions));
    } catch (error) {
      trouble.hidden = false;
      trouble.textContent = error.message;
    }
  },
  closeregion: closeRegion,
  leaveregion: () => {
    state.corners = null;
    render();
  },
  undo: () => travel("past", "future"),
  redo: () => travel("future", "past"),
  deletedot: () => deleteDot(state.dot),
  save: () => save(),
  back: () => step(-1),
  next: () => step(1),
  dotscsv: () => {
    const { name, kind, dots } = state.selected;
    if (!dots) return;
    download(`${stem(name)}-dots.csv`, dotsCsv(state.selected), "text/csv");
    if (kind !== "project") dots.kept = dots.points;
  },
  film: () => startFilm(state.selected),
  stopfilm: () => stopFilm(state.selected),
  filmcsv: () => {
    download(`${stem(state.selected.name)}.csv`, filmCsv(state.selected), "text/csv");
    state.selected.kept = outcome(state.selected);
  },
};
document.addEventListener("click", (event) => actions[event.target.closest("[data-do]")?.dataset.do]?.());

function setMode(mode) {
  Object.assign(state, { mode, corners: null, dot: -1 });
  const item = state.selected;
  if (mode === "correct") openDots(item);
  else if (item?.state === "idle" && item.kind === "project") {
    item.state = "waiting";
    pump();
  }
  render();
}

const onStage = {
  "+": actions.larger,
  "=": actions.larger,
  "-": actions.smaller,
  0: actions.fit,
  n: () => stepDot(1),
  p: () => stepDot(-1),
  Delete: actions.deletedot,
  a: () => addDot(toPhoto([stage.clientWidth / 2, stage.clientHeight / 2])),
};
const inRegion = {
  Enter: closeRegion,
  Escape: actions.leaveregion,
  Backspace: () => {
    state.corners = state.corners.length > 1 ? state.corners.slice(0, -1) : null;
    render();
  },
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.onkeydown = (event) => {
  const { key, shiftKey } = event,
    command = event.ctrlKey || event.metaKey,
    item = state.selected;
  const typing = event.target.closest("input:not([type=radio], [type=range]), textarea, select, dialog");
  const action = command
    ? commandKey(key.toLowerCase(), shiftKey, typing)
    : typing || !item
      ? null
      : plainKey(key, shiftKey, event.target === stage);
  if (!action) return;
  event.preventDefault();
  state.typed = true;
  action();
};

function commandKey(key, shift, typing) {
  if (state.mode !== "correct" || typing) return null;
  return { z: shift ? actions.redo : actions.undo, y: actions.redo, s: actions.save }[key];
}

function plainKey(key, shift, focused) {
  if (key === "PageDown" || key === "PageUp") return () => step(key === "PageDown" ? 1 : -1);
  if (state.corners && inRegion[key]) return inRegion[key];
  if (!focused || !size()) return null;
  if (key === " ")
    return () => {
      state.space = true;
      cursor();
    };
  const dots = state.mode === "correct" && state.selected.dots,
    arrow = ARROWS[key],
    far = shift ? 10 : 1;
  if (arrow && dots && dots.points[state.dot]) return () => nudge(arrow[0] * far, arrow[1] * far);
  if (arrow) return () => pan(-40 * arrow[0], -40 * arrow[1]);
  if (key === "Escape" && state.dot >= 0)
    return () => {
      state.dot = -1;
      render();
    };
  if ("npaDelete".includes(key.length > 1 ? key : key.toLowerCase()) && !dots) return null;
  return dots && key === "Backspace" ? onStage.Delete : onStage[key.length > 1 ? key : key.toLowerCase()];
}

document.onkeyup = (event) => {
  if (event.key === " " && state.space) {
    state.space = false;
    cursor();
  }
};
stage.onfocus = stage.onblur = draw;
$("modes").onchange = (event) => setMode(event.target.value);
$("layers").onchange = (event) => {
  state.layer = event.target.value;
  render();
};
$("opacity").oninput = (event) => {
  state.opacity = event.target.value / 100;
  draw();
};
$("wipe").oninput = (event) => {
  state.wipe = event.target.value / 100;
  draw();
};
$("other").onchange = (event) => {
  state.other = event.target.value;
  if (state.other) compare(state.selected);
  render();
};
$("rows").ontoggle = () => state.selected?.job?.rows.length && renderFilm(state.selected);
$("model").onchange = (event) => {
  // one model for all photos, otherwise the total would mean nothing
  Object.assign(state, { model: event.target.value, other: "" });
  for (const item of state.items) {
    item.other = null;
    recount(item);
  }
};
$("files").onchange = (event) => {
  addFiles([...event.target.files]);
  event.target.value = "";
};
document.onpaste = (event) => {
  if (state.facts && event.clipboardData.files.length) addFiles([...event.clipboardData.files]);
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.toggle("dropping", [...event.dataTransfer.types].includes("Files"));
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (state.facts) addFiles([...event.dataTransfer.files]);
};
window.onbeforeunload = (event) => {
  if (state.items.some(atRisk)) event.preventDefault();
};
new ResizeObserver(draw).observe(stage);

// Theme and startup

const dark = matchMedia("(prefers-color-scheme: dark)");
function setTheme() {
  const theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", theme === "dark");
}
dark.onchange = setTheme;
$("theme").onclick = () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  setTheme();
};
$("keys").onclick = () => $("keysdialog").showModal();

async function openProject() {
  state.project = await ask("/v1/project");
  state.items = state.project.photos.map(({ name, points }) => ({ ...newItem("project", name, null), marked: points }));
  select(state.items.find((item) => item.marked === null) ?? state.items[0]);
}

async function start() {
  setTheme();
  const facts = await ask("/v1/models");
  Object.assign(state, { facts, model: facts.default });
  $("modelbox").hidden = facts.models.length < 2;
  fill(
    $("model"),
    ...facts.models.map(({ name }) => el("option", { value: name, selected: name === facts.default }, name)),
  );
  if (facts.project) await openProject();
  if (state.early.length) addFiles(state.early.splice(0));
  render();
  setInterval(() => document.hidden || fetch("/healthz").catch(online), 5000); // notices early that the server is gone
}
start().catch((error) => banner(error.message));

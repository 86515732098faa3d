// The page of the server: send a picture, show what was found. Sliders act on the answer; nothing is sent again.

import { cssColor, detectionAt, draw, paintMask } from "./drawing.js";

const at = (id) => document.getElementById(id);
const canvas = at("canvas");
const PARTS = { queue: "Queue", decode: "Decoding", network: "Network", postprocessing: "Answer", transfer: "Transfer, browser" };
// Of the canvas: phones have no larger ones, and labels need space.
const MOST_PX = 4096;
const LEAST_PX = 720;

const state = { models: [], picture: null, answer: null, detections: [], chosen: null, hidden: new Set(), threshold: 0, least: new Map(), stream: null, sending: null };

function say(text, isError = false) {
  at("message").textContent = text;
  at("message").classList.toggle("error", isError);
}

function key() {
  return sessionStorage.getItem("res2net-key") || "";
}

async function ask(address, options = {}) {
  const headers = key() ? { "X-API-Key": key() } : {};
  const response = await fetch(address, { ...options, headers });
  const body = await response.json().catch(() => ({ error: `The server answered with status ${response.status}.` }));
  if (response.status === 401) at("key-form").hidden = false;
  if (!response.ok) throw Object.assign(new Error(body.error), { status: response.status });
  return body;
}

async function loadModels() {
  try {
    const { models } = await ask("v1/models");
    state.models = models;
  } catch (error) {
    say(error.status === 401 ? "This server needs a key." : error.message || "The server does not answer.", true);
    if (error.status === 401) at("key").focus();
    return;
  }
  at("model").replaceChildren(...state.models.map((model) => new Option(model.name, model.name)));
  say("The picture goes to this server only.");
  describeModel();
}

const model = () => state.models.find((one) => one.name === at("model").value);

function describeModel() {
  const { task, labels, engine } = model();
  const kind = task === "detection" ? (model().has_masks ? "boxes and masks" : "boxes") : "classifier";
  at("about").textContent = `${kind}, ${labels.length} ${labels.length === 1 ? "class" : "classes"}, ${engine}`;
}

async function show(blob, name) {
  if (!state.models.length) return;
  stopCamera();
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);
  state.picture = { blob, name, bitmap, width: bitmap?.width, height: bitmap?.height };
  await send();
}

async function send() {
  state.sending?.abort();
  const sending = (state.sending = new AbortController());
  const chosenModel = model();
  const masks = chosenModel.has_masks ? "&masks=png" : "";
  Object.assign(state, { answer: null, detections: [], chosen: null, hidden: new Set(), least: new Map() });
  at("busy").hidden = false;
  say("Looking ...");
  refresh();
  const started = performance.now();
  try {
    const address = `v1/models/${encodeURIComponent(chosenModel.name)}:predict?top_k=10${masks}`;
    const answer = await ask(address, { method: "POST", body: state.picture.blob, signal: sending.signal });
    const found = answer.predictions[0];
    await Promise.all((found.detections || []).map(paintMask));
    if (sending !== state.sending) return;
    state.answer = answer;
    state.detections = found.detections || [];
    Object.assign(state.picture, { width: found.width || state.picture.width, height: found.height || state.picture.height });
    if (chosenModel.task === "detection") setThresholds(chosenModel);
    showTimes(answer.times_ms, performance.now() - started);
    listClasses();
  } catch (error) {
    if (error.name === "AbortError") return;
    say(error.message || "The server does not answer.", true);
  }
  at("busy").hidden = true;
  refresh();
}

// Classes may have thresholds of their own. The slider of all classes then starts at the least of them.
function setThresholds({ draw_threshold, class_thresholds }) {
  (class_thresholds || []).forEach((least, label) => state.least.set(label, least));
  setThreshold(class_thresholds ? Math.min(...class_thresholds) : draw_threshold);
}

function setThreshold(value) {
  state.threshold = Number(value);
  at("threshold").value = value;
  at("threshold-value").value = Number(value).toFixed(2);
}

function visible() {
  return state.detections.filter(
    (one) => one.score >= Math.max(state.threshold, state.least.get(one.label) || 0) && !state.hidden.has(one.label),
  );
}

function refresh() {
  const { answer, picture } = state;
  const isDetector = Boolean(answer?.predictions[0].detections);
  const shown = visible();
  if (!shown.includes(state.chosen)) state.chosen = null;
  at("empty").hidden = Boolean(picture);
  canvas.hidden = !picture;
  at("stage").classList.toggle("full", Boolean(picture?.bitmap));
  at("controls").hidden = !isDetector;
  at("masks-label").hidden = !state.detections.some((one) => one.painted);
  for (const id of ["found", "times"]) at(id).hidden = !answer;
  at("save-json").disabled = !answer;
  at("save-picture").disabled = !picture?.bitmap;
  if (picture) paint(shown);
  if (!answer) return;
  listFound(shown, answer.predictions[0].classes);
  if (isDetector) {
    const text = `${shown.length} of ${state.detections.length} ${state.detections.length === 1 ? "object" : "objects"}`;
    say(picture.bitmap ? text : `${text}. This browser cannot show pictures of this format.`);
    canvas.setAttribute("aria-label", `${picture.name} with ${shown.map((one) => one.name).join(", ") || "nothing found"}`);
  } else {
    say(`Most probably: ${answer.predictions[0].classes[0].name}`);
    canvas.setAttribute("aria-label", picture.name);
  }
}

function paint(shown) {
  const { picture } = state;
  const longest = Math.max(picture.width, picture.height, 1);
  const scale = Math.max(Math.min(1, MOST_PX / longest), LEAST_PX / longest);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round((side || 1) * scale)));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  draw(canvas, picture, shown, { showMasks: at("masks").checked, chosen: state.chosen });
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function swatch(label) {
  const dot = make("span", { className: "swatch" });
  dot.style.background = cssColor(label);
  return dot;
}

function listClasses() {
  const counts = new Map();
  for (const one of state.detections) counts.set(one.label, (counts.get(one.label) || 0) + 1);
  const rows = [...counts].sort((one, other) => other[1] - one[1]).map(([label, count]) => {
    const name = model().labels[label];
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      state.hidden[box.checked ? "delete" : "add"](label);
      refresh();
    });
    const value = state.least.get(label) || 0;
    const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, value, ariaLabel: `Least score of ${name}` });
    slider.addEventListener("input", () => {
      state.least.set(label, Number(slider.value));
      slider.title = Number(slider.value).toFixed(2);
      refresh();
    });
    const text = make("label", {}, box, swatch(label), make("span", { textContent: name, title: name }));
    text.append(make("span", { className: "count", textContent: count }));
    return make("li", {}, text, slider);
  });
  at("classes").replaceChildren(...rows);
}

function listFound(shown, classes) {
  const entries = classes || shown;
  const rows = entries.map((one) => {
    const score = make("meter", { min: 0, max: 1, value: one.score });
    score.setAttribute("aria-hidden", "true");
    const dot = classes ? make("span") : swatch(one.label);
    const button = make("button", { type: "button" }, dot, make("span", { textContent: one.name, title: one.name }), score);
    button.append(make("span", { textContent: one.score.toFixed(2) }));
    button.classList.toggle("on", one === state.chosen);
    if (!classes) {
      for (const event of ["focus", "mouseenter", "click"]) button.addEventListener(event, () => choose(one, false));
    }
    return make("li", {}, button);
  });
  at("list").replaceChildren(...rows);
}

function choose(one, says = true) {
  if (state.chosen === one) return;
  state.chosen = one;
  const shown = visible();
  paint(shown);
  at("list").querySelectorAll("button").forEach((button, index) => button.classList.toggle("on", shown[index] === one));
  if (one && says) say(`${one.name}, score ${one.score.toFixed(2)}`);
}

function showTimes(times, total) {
  const known = Object.values(times).reduce((sum, one) => sum + one, 0);
  const all = { ...times, transfer: Math.max(0, total - known) };
  at("bar").replaceChildren(...Object.values(all).map((ms) => {
    const piece = make("i");
    piece.style.flexGrow = String(ms);
    return piece;
  }));
  const rows = Object.entries({ ...all, total }).flatMap(([part, ms]) => [
    make("dt", { textContent: PARTS[part] || "Together" }),
    make("dd", { textContent: `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` }),
  ]);
  at("parts").replaceChildren(...rows);
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = () => state.picture.name.replace(/\.[^.]*$/, "") || "picture";

function saveJson() {
  const [prediction] = state.answer.predictions;
  const plain = ({ painted, ...rest }) => rest;
  const content = prediction.detections ? { ...prediction, detections: visible().map(plain) } : prediction;
  const text = JSON.stringify({ ...state.answer, predictions: [content] }, null, 1);
  save(new Blob([text], { type: "application/json" }), `${stem()}.json`);
}

async function startCamera() {
  if (state.stream) return stopCamera();
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
  } catch (error) {
    return say(
      window.isSecureContext ? "There is no camera, or the browser may not use it." : "Browsers give the camera to https and localhost only.",
      true,
    );
  }
  at("video").srcObject = state.stream;
  await at("video").play();
  at("empty").hidden = canvas.hidden = true;
  at("video").hidden = at("shoot").hidden = false;
  at("camera").textContent = "Close the camera";
  at("shoot").focus();
}

function stopCamera() {
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  at("video").hidden = at("shoot").hidden = true;
  at("camera").textContent = "Camera";
  at("empty").hidden = Boolean(state.picture);
  canvas.hidden = !state.picture;
}

function shoot() {
  const video = at("video");
  const still = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  still.getContext("2d").drawImage(video, 0, 0);
  still.toBlob((blob) => show(blob, "camera.jpg"), "image/jpeg", 0.92);
}

function pointAt(event) {
  const frame = canvas.getBoundingClientRect();
  const { width, height } = state.picture;
  const [x, y] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  const one = detectionAt(visible(), x * width, y * height);
  choose(one || null, false);
  const tip = at("tip");
  tip.hidden = !one;
  if (!one) return;
  const stage = at("stage").getBoundingClientRect();
  tip.textContent = `${one.name} ${one.score.toFixed(3)}`;
  tip.style.left = `${Math.max(4, Math.min(event.clientX - stage.left + 12, stage.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(4, event.clientY - stage.top - 34)}px`;
}

function step(event) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const shown = visible();
  if (event.key === "Escape") return choose(null);
  if (!by || !shown.length) return;
  event.preventDefault();
  const now = shown.indexOf(state.chosen);
  choose(shown[now < 0 ? (by > 0 ? 0 : shown.length - 1) : (now + by + shown.length) % shown.length]);
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/") || /\.(tiff?|jp2)$/i.test(one.name));
  if (file) show(file, file.name || "pasted.png");
  else if (files.length) say("This is no picture.", true);
}

at("open").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  take(at("file").files);
  at("file").value = "";
});
at("empty").addEventListener("click", () => at("file").click());
at("camera").addEventListener("click", startCamera);
at("shoot").addEventListener("click", shoot);
at("save-json").addEventListener("click", saveJson);
at("save-picture").addEventListener("click", () => canvas.toBlob((blob) => save(blob, `${stem()}.png`), "image/png"));
at("threshold").addEventListener("input", () => {
  setThreshold(at("threshold").value);
  refresh();
});
at("masks").addEventListener("change", refresh);
at("model").addEventListener("change", () => {
  describeModel();
  if (state.picture) send();
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("res2net-key", at("key").value.trim());
  loadModels();
});
canvas.addEventListener("pointermove", pointAt);
canvas.addEventListener("pointerdown", pointAt);
canvas.addEventListener("pointerleave", () => {
  at("tip").hidden = true;
  choose(null);
});
canvas.addEventListener("keydown", step);
document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("stage").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => at("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files);
});

loadModels();

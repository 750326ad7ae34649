// The page: what was sent and chosen → what is drawn and listed.

import { Drawing, isIn, layersShown, samplesOf } from "./drawing.js";
import { ObjectList } from "./list.js";
import * as server from "./server.js";

const PAUSE = 120; // ms that a slider rests before the server is asked

const element = (id) => document.getElementById(id);
const state = {
  image: null, // what the server answered to the image
  cut: null, // what it answered to fewer coefficients
  explanation: null,
  chosen: null,
  pointed: null,
  layer: "all",
};
let model, drawing, list;
let sending = new AbortController();
let asking = new AbortController();
let pause;

function fail(error) {
  if (error.name === "AbortError") return;
  element("banner-text").textContent = error.message;
  element("banner").hidden = false;
  setStatus("");
}

const setStatus = (text) => (element("status").textContent = text);
const threshold = () => Number(element("threshold").value);
const coefficients = () => Number(element("coefficients").value);

async function send(file) {
  sending.abort();
  asking.abort();
  const { signal } = (sending = new AbortController());
  element("banner").hidden = true;
  if (file.size > model.most_bytes) {
    const size = (file.size / 1e6).toFixed(1);
    fail(new Error(`${file.name}: ${size} MB; an image may have ${model.most_bytes / 1e6} MB.`));
    return;
  }
  setStatus("The network is looking …");
  element("stage").classList.add("busy");
  try {
    const image = await server.predict(file, signal);
    const picture = await server.picture(image.id);
    if (!signal.aborted) begin(image, picture);
  } catch (error) {
    fail(error);
  } finally {
    if (!signal.aborted) element("stage").classList.remove("busy");
  }
}

function begin(image, picture) {
  Object.assign(state, { image, cut: null, explanation: null, chosen: null, pointed: null });
  element("empty").hidden = true;
  element("settings").disabled = false;
  element("coefficients").value = element("coefficients").max;
  drawing.show(picture, image);
  list.fill(image.objects, (object) => drawing.colorOf(object));
  const [height, width] = image.image_size;
  setStatus(`${width} × ${height} pixels, found in ${image.milliseconds} ms`);
  update();
}

// The objects as they are now drawn: with the masks of as many coefficients as are chosen.
function objectsNow() {
  const { image, cut } = state;
  if (!cut) return image.objects;
  return image.objects.map((object, i) => ({ ...object, polygons: cut.objects[i].polygons }));
}

function update() {
  if (!state.image) return;
  const objects = objectsNow();
  const isShown = objects.map((object) => object.score >= threshold());
  const ious = state.cut && state.cut.objects.map((object) => object.iou);
  const { pointed, chosen, explanation, layer } = state;
  drawing.render({ objects, isShown, pointed, chosen, explanation, layer });
  list.update({ isShown, ious, pointed, chosen });
  const shown = isShown.filter(Boolean).length;
  element("count").textContent = `${shown} of ${objects.length}`;
  element("no-objects").hidden = shown > 0;
  element("no-objects").textContent = "None is that sure; lower the threshold.";
  element("threshold-value").textContent = threshold().toFixed(2);
  element("coefficients-value").textContent = `${coefficients()} of ${model.coefficients}`;
  const kept = ious?.filter((_, index) => isShown[index]) ?? [];
  const mean = kept.reduce((sum, iou) => sum + iou, 0) / kept.length;
  element("coefficients-note").textContent = kept.length ? `mean IoU ${mean.toFixed(2)}` : "";
  updateQuery();
}

function updateQuery() {
  const { explanation, layer, image } = state;
  element("query").hidden = !explanation;
  if (!explanation) return;
  const score = explanation.score.toFixed(2);
  element("query-title").textContent = `Query ${explanation.query}: ${explanation.name} ${score}`;
  const samples = samplesOf(explanation, layersShown(explanation, layer));
  const outside = samples.filter(({ x, y }) => !isIn(image, x, y)).length;
  element("query-note").textContent =
    `${samples.length} places, ${outside} outside of the image (rings). ` +
    "Larger dots count more; dashed: the box after this layer.";
}

async function choose(index) {
  asking.abort();
  if (state.chosen === index) {
    leaveQuery();
    return;
  }
  const { signal } = (asking = new AbortController());
  state.chosen = index;
  state.explanation = null;
  update();
  setStatus("Asking where it looked …");
  try {
    const { image } = state;
    const explanation = await server.explain(image.id, image.objects[index].query, signal);
    state.explanation = explanation;
    showLegend(explanation);
    setStatus(`Sampling points of query ${explanation.query} in ${explanation.milliseconds} ms`);
  } catch (error) {
    if (error.name !== "AbortError") state.chosen = null;
    fail(error);
  }
  update();
}

function leaveQuery() {
  asking.abort();
  Object.assign(state, { chosen: null, explanation: null });
  setStatus("");
  update();
}

function showLegend(explanation) {
  element("legend").replaceChildren(
    ...explanation.strides.map((stride, level) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = drawing.palette[level % drawing.palette.length];
      item.append(swatch, `level ${level} (1/${stride})`);
      return item;
    }),
  );
}

async function cutMasks() {
  const { image } = state;
  const wanted = coefficients();
  if (wanted === model.coefficients) {
    state.cut = null;
    setStatus("");
    update();
    return;
  }
  try {
    const cut = await server.masks(image.id, wanted);
    // By now the slider may be elsewhere, and the image another.
    if (state.image !== image || wanted !== coefficients()) return;
    state.cut = cut;
    setStatus(`Masks of ${wanted} coefficients in ${cut.milliseconds} ms`);
    update();
  } catch (error) {
    fail(error);
  }
}

function listen() {
  element("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) send(file);
    event.target.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) send(file);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    element("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) element("stage").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    element("stage").classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) send(file);
    else fail(new Error("Drop an image file: what was dropped is none."));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.chosen !== null) leaveQuery();
  });
  element("threshold").addEventListener("input", update);
  element("coefficients").addEventListener("input", () => {
    element("coefficients-value").textContent = `${coefficients()} of ${model.coefficients}`;
    clearTimeout(pause);
    pause = setTimeout(cutMasks, PAUSE);
  });
  element("banner-close").addEventListener("click", () => (element("banner").hidden = true));
  element("query-close").addEventListener("click", leaveQuery);
  const canvas = element("canvas");
  const under = (event) => {
    const isShown = state.image.objects.map((object) => object.score >= threshold());
    return drawing.objectAt(drawing.placeOf(event), objectsNow(), isShown);
  };
  canvas.addEventListener("pointermove", (event) => point(under(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => {
    const index = under(event);
    if (index !== null) choose(index);
  });
  window.addEventListener("resize", update);
}

function point(index) {
  if (state.pointed === index) return;
  state.pointed = index;
  update();
}

function addLayers(count) {
  const layers = ["all", ...Array.from({ length: count }, (_, index) => index)];
  for (const layer of layers) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "layer", checked: layer === "all" });
    input.className = "unseen";
    input.addEventListener("change", () => {
      state.layer = layer;
      update();
    });
    label.append(input, layer === "all" ? "all layers" : String(layer + 1));
    element("layers").append(label);
  }
}

async function start() {
  model = await server.aboutModel();
  const names = model.categories.map((category) => category.name);
  const more = names.length > 6 ? ", …" : "";
  element("model").textContent = `${model.name} · ${names.slice(0, 6).join(", ")}${more}`;
  drawing = new Drawing(element("canvas"), model.palette);
  list = new ObjectList(element("objects"), { choose, point });
  element("coefficients-setting").hidden = model.coefficients === null;
  element("coefficients").max = model.coefficients ?? 1; // before the value, which it bounds
  element("coefficients").value = element("coefficients").max;
  element("coefficients-value").textContent = `${model.coefficients} of ${model.coefficients}`;
  addLayers(model.layers);
  listen();
}

start().catch(fail);

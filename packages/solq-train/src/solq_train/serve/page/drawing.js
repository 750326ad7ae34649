// The picture on its canvas: masks, boxes, and the places that a query looked at.

import { areaPath, outlinePath } from "./paths.js";

const LARGEST_DOT = 12; // radius in pixels of the screen, of a weight of 1
const SMALLEST_DOT = 1.2;
const OPAQUE_WEIGHT = 0.25; // dots of less are more or less transparent
const HIGHEST_SHARE = 0.78; // of the window

export class Drawing {
  constructor(canvas, palette) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.palette = palette;
    this.picture = null;
    this.size = { width: 1, height: 1 }; // of the image that all places are given in
  }

  show(picture, size) {
    this.picture = picture;
    this.size = size;
    this.canvas.hidden = false;
  }

  colorOf(object) {
    return this.palette[object.slot % this.palette.length];
  }

  // The place in the image that a pointer is at.
  placeOf(event) {
    const area = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - area.left) / area.width) * this.size.width,
      y: ((event.clientY - area.top) / area.height) * this.size.height,
    };
  }

  // The smallest object at a place, so that one in front of another can be reached; null for none.
  objectAt(place, objects, isShown) {
    let found = null;
    objects.forEach((object, index) => {
      if (!isShown[index] || !this.#contains(object, place)) return;
      if (found === null || areaOf(object) < areaOf(objects[found])) found = index;
    });
    return found;
  }

  render(scene) {
    this.#fit();
    const { context, size } = this;
    context.drawImage(this.picture, 0, 0, size.width, size.height);
    if (scene.explanation) {
      this.#explain(scene);
      return;
    }
    for (let index = scene.objects.length - 1; index >= 0; index--) {
      if (scene.isShown[index]) this.#object(scene.objects[index], index === scene.pointed);
    }
  }

  // One pixel of the screen, in pixels of the image.
  get #pixel() {
    return this.size.width / this.canvas.clientWidth;
  }

  #fit() {
    const room = this.canvas.parentElement.clientWidth;
    const highest = window.innerHeight * HIGHEST_SHARE;
    const scale = Math.min(room / this.size.width, highest / this.size.height);
    const width = Math.max(1, Math.round(this.size.width * scale));
    const height = Math.max(1, Math.round(this.size.height * scale));
    const density = window.devicePixelRatio || 1;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const { width: columns, height: rows } = this.canvas;
    this.context.setTransform(columns / this.size.width, 0, 0, rows / this.size.height, 0, 0);
  }

  #object(object, isPointed) {
    const { context } = this;
    context.fillStyle = this.colorOf(object);
    context.globalAlpha = isPointed ? 0.7 : 0.42;
    context.fill(areaPath(object.polygons));
    context.globalAlpha = 1;
    this.#outline(object, isPointed ? 3.5 : 2);
    if (isPointed || object.polygons.length === 0) this.#box(object.box, this.colorOf(object));
  }

  // On a dark edge, to be seen on a background of its own colour too.
  #outline(object, width) {
    const { context } = this;
    for (const [wider, style] of [[2, "rgb(0 0 0 / 55%)"], [0, this.colorOf(object)]]) {
      context.lineWidth = (width + wider) * this.#pixel;
      context.strokeStyle = style;
      context.stroke(outlinePath(object.polygons));
    }
  }

  #box([x0, y0, x1, y1], color, dash = []) {
    const { context } = this;
    const pixel = this.#pixel;
    context.setLineDash(dash.map((length) => length * pixel));
    for (const [width, style] of [[3.5, "rgb(0 0 0 / 60%)"], [1.5, color]]) {
      context.lineWidth = width * pixel;
      context.strokeStyle = style;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    context.setLineDash([]);
  }

  #explain({ objects, chosen, explanation, layer }) {
    const { context, size } = this;
    context.fillStyle = "rgb(12 14 18 / 45%)";
    context.fillRect(0, 0, size.width, size.height);
    this.#outline(objects[chosen], 2);
    const layers = layersShown(explanation, layer);
    this.#box(explanation.boxes[layers[layers.length - 1]], "white", [6, 5]);
    const samples = samplesOf(explanation, layers);
    samples.sort((a, b) => b.weight - a.weight); // small dots stay visible on large ones
    for (const sample of samples) this.#dot(sample);
  }

  // A dot whose area is in proportion to the weight; a ring at the border for one outside.
  #dot({ x, y, weight, level }) {
    const { context, size } = this;
    const pixel = this.#pixel;
    const radius = pixel * Math.max(SMALLEST_DOT, LARGEST_DOT * Math.sqrt(weight));
    const isInside = isIn(size, x, y);
    context.globalAlpha = 0.35 + 0.6 * Math.min(1, weight / OPAQUE_WEIGHT);
    context.beginPath();
    context.arc(between(x, radius, size.width), between(y, radius, size.height), radius, 0, 7);
    context.lineWidth = (isInside ? 0.8 : 1.6) * pixel;
    context.fillStyle = this.palette[level % this.palette.length];
    context.strokeStyle = isInside ? "black" : context.fillStyle;
    if (isInside) context.fill();
    context.stroke();
    context.globalAlpha = 1;
  }

  #contains(object, { x, y }) {
    if (object.polygons.length > 0) {
      this.context.save();
      this.context.resetTransform();
      const isInside = this.context.isPointInPath(areaPath(object.polygons), x, y);
      this.context.restore();
      return isInside;
    }
    const [x0, y0, x1, y1] = object.box;
    return x0 <= x && x <= x1 && y0 <= y && y <= y1;
  }
}

// `layer` is a number, or "all".
export function layersShown(explanation, layer) {
  return layer === "all" ? explanation.locations.map((_, index) => index) : [layer];
}

// Every place of some layers: x, y, weight, level.
export function samplesOf(explanation, layers) {
  return layers.flatMap((layer) =>
    explanation.locations[layer].flatMap((levels, head) =>
      levels.flatMap((points, level) =>
        points.map(([x, y], point) => {
          const weight = explanation.weights[layer][head][level][point];
          return { x, y, weight, level };
        }),
      ),
    ),
  );
}

export const isIn = (size, x, y) => x >= 0 && y >= 0 && x < size.width && y < size.height;

const between = (value, margin, side) => Math.min(Math.max(value, margin), side - margin);

const areaOf = ({ box: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);

// The list of objects: one button each, made once per image and hidden below the threshold.

export class ObjectList {
  // `on` has `point(index or null)` and `choose(index)`.
  constructor(list, on) {
    this.list = list;
    this.on = on;
    this.buttons = [];
    list.addEventListener("keydown", (event) => this.#move(event));
  }

  fill(objects, colorOf) {
    this.buttons = objects.map((object, index) => this.#button(object, index, colorOf(object)));
    this.list.replaceChildren(
      ...this.buttons.map((button) => {
        const item = document.createElement("li");
        item.append(button);
        return item;
      }),
    );
  }

  // `ious` is null for whole vectors.
  update({ isShown, ious, pointed, chosen }) {
    this.buttons.forEach((button, index) => {
      button.parentElement.hidden = !isShown[index];
      button.classList.toggle("pointed", index === pointed);
      button.setAttribute("aria-pressed", String(index === chosen));
      button.querySelector(".iou").textContent = ious ? `IoU ${ious[index].toFixed(2)}` : "";
    });
  }

  #button(object, index, color) {
    const button = document.createElement("button");
    button.type = "button";
    const swatch = part("swatch", "");
    swatch.style.background = color;
    button.append(
      swatch,
      part("name", object.name),
      part("iou number faded", ""),
      part("score number", object.score.toFixed(2)),
    );
    button.title = `Query ${object.query}; choose to see where it looked`;
    button.addEventListener("click", () => this.on.choose(index));
    button.addEventListener("pointerenter", () => this.on.point(index));
    button.addEventListener("pointerleave", () => this.on.point(null));
    button.addEventListener("focus", () => this.on.point(index));
    button.addEventListener("blur", () => this.on.point(null));
    return button;
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const shown = this.buttons.filter((button) => !button.parentElement.hidden);
    const next = shown[shown.indexOf(document.activeElement) + step];
    if (next) {
      next.focus();
      event.preventDefault();
    }
  }
}

function part(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

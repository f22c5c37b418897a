// A frame over a picture, moved and sized by pointer or keys; its numbers are pixels of the picture.
"use strict";

class CropFrame {
  // `element` lies over `canvas`; `changed` is called when the user has let go.
  constructor(element, canvas, changed) {
    this.element = element;
    this.canvas = canvas;
    this.changed = changed;
    this.box = { x: 0, y: 0, width: 1, height: 1 };
    this.aspect = 1; // width over height
    element.addEventListener("pointerdown", (event) => this.grab(event));
    element.addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => this.draw());
  }

  // The largest frame of the aspect, in the middle.
  start(aspect) {
    this.aspect = aspect;
    const { width, height } = this.canvas;
    const wide = Math.min(width, height * aspect);
    this.place({ x: (width - wide) / 2, y: (height - wide / aspect) / 2, width: wide });
  }

  // Keep a box within the picture and at its aspect, and show it.
  place({ x, y, width }) {
    const most = Math.min(this.canvas.width, this.canvas.height * this.aspect);
    const least = Math.min(most, Math.max(8, most / 20));
    width = Math.min(most, Math.max(least, width));
    const height = width / this.aspect;
    this.box = {
      x: Math.min(Math.max(0, x), this.canvas.width - width),
      y: Math.min(Math.max(0, y), this.canvas.height - height),
      width, height,
    };
    this.draw();
  }

  draw() {
    const scale = this.canvas.clientWidth / this.canvas.width || 1;
    const style = this.element.style;
    style.left = this.box.x * scale + "px";
    style.top = this.box.y * scale + "px";
    style.width = this.box.width * scale + "px";
    style.height = this.box.height * scale + "px";
  }

  grab(event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    const corner = event.target.dataset.corner || "";
    const scale = this.canvas.width / this.canvas.clientWidth;
    const from = { x: event.clientX, y: event.clientY, box: { ...this.box } };
    const move = (now) => {
      const dx = (now.clientX - from.x) * scale, dy = (now.clientY - from.y) * scale;
      if (corner) this.size(corner, from.box, dx, dy);
      else this.place({ x: from.box.x + dx, y: from.box.y + dy, width: from.box.width });
    };
    const end = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.removeEventListener("pointerup", end);
      this.element.removeEventListener("pointercancel", end);
      this.changed();
    };
    this.element.setPointerCapture(event.pointerId);
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", end);
    this.element.addEventListener("pointercancel", end);
  }

  // Pull one corner; the corner across from it stays where it is.
  size(corner, box, dx, dy) {
    const left = corner[1] === "w", top = corner[0] === "n";
    const pulled = ((left ? -dx : dx) + (top ? -dy : dy) * this.aspect) / 2;
    const room = Math.min(
      left ? box.x + box.width : this.canvas.width - box.x,
      (top ? box.y + box.height : this.canvas.height - box.y) * this.aspect,
    );
    const width = Math.min(room, Math.max(8, box.width + pulled));
    this.place({
      x: left ? box.x + box.width - width : box.x,
      y: top ? box.y + box.height - width / this.aspect : box.y,
      width,
    });
  }

  key(event) {
    const step = this.canvas.width * (event.shiftKey ? 0.1 : 0.02);
    const { x, y, width, height } = this.box;
    const grown = (factor) => ({
      x: x - (width * (factor - 1)) / 2, y: y - (height * (factor - 1)) / 2, width: width * factor,
    });
    const moves = {
      ArrowLeft: { x: x - step, y, width }, ArrowRight: { x: x + step, y, width },
      ArrowUp: { x, y: y - step, width }, ArrowDown: { x, y: y + step, width },
      "+": grown(1.06), "=": grown(1.06), "-": grown(1 / 1.06),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.place(moves[event.key]);
    clearTimeout(this.later);
    this.later = setTimeout(() => this.changed(), 350); // when the keys have come to rest
  }
}

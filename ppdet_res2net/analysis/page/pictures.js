// Pictures with ground truth beside predictions. Shapes are in pixels of the original image; the view says what part is shown.

const CLASSES = new Map(DATA.classes.map((one) => [one.id, one]));
const className = (id) => (id === null || id === undefined ? "background" : CLASSES.get(id)?.name ?? `class ${id}`);
const imageOf = (id) => DATA.pictures.images[id];
const fileName = (id) => imageOf(id)?.file ?? DATA.files?.[id] ?? `image id ${id}`;

const TONES = { right: "#2fbf71", wrong: "#ff4d4f", missed: "#ffab2e", aside: "#9aa4b5" };

// What a picture shows of each object and detection from a score on: `m` of a detection is the object that it is right on.
function shapesOf(image, kind, score) {
  const found = image.found.filter((one) => one.s >= score && one.m[kind] !== undefined);
  const taken = new Set(found.map((one) => one.m[kind]).filter((id) => id !== null));
  return {
    objects: image.objects.map((one) => ({
      ...one, tone: one.a ? "aside" : taken.has(one.id) ? "right" : "missed",
      text: className(one.c), state: one.a ? "set aside" : taken.has(one.id) ? "found" : "missed",
    })),
    found: found.map((one) => ({
      ...one, tone: one.m[kind] === "aside" ? "aside" : one.m[kind] === null ? "wrong" : "right",
      text: `${className(one.c)} ${fixed(one.s, 2)}`, state: one.m[kind] === "aside" ? "set aside" : one.m[kind] === null ? "wrong" : "right",
    })),
  };
}

// One picture. `source` is {src, box}: pixels, and the part of the image that they are; without `src` there is an empty field.
function picture(view, source, shapes, kind, label, isMarked = () => false) {
  const [x, y, width, height] = view;
  const svg = draw("svg", { class: "picture", viewBox: `${x} ${y} ${width} ${height}`, role: "img", "aria-label": label });
  const unit = width / 340;
  if (source.src) {
    const [left, top, wide, high] = source.box;
    svg.append(draw("image", { x: left, y: top, width: wide, height: high, preserveAspectRatio: "none", href: source.src }));
  }
  const hasMarks = shapes.some(isMarked);
  for (const shape of [...shapes].sort((a, b) => isMarked(a) - isMarked(b))) {
    const marked = isMarked(shape), look = `shape ${shape.tone === "missed" ? "lost " : ""}${marked ? "mark" : hasMarks ? "dim" : ""}`;
    const tone = TONES[shape.tone], [left, top, wide, high] = shape.b;
    const group = draw("g", {}, draw("title", {}, `${shape.text}: ${shape.state}`));
    if (kind === "segm" && shape.o) group.append(draw("path", { class: `outline ${look}`, d: shape.o, fill: tone, stroke: tone, "fill-rule": "evenodd" }));
    if (kind === "bbox" || !shape.o) group.append(draw("rect", { class: look, x: left, y: top, width: wide, height: high, stroke: tone, fill: "none" }));
    if (marked || (!hasMarks && wide > 34 * unit)) {
      const size = 13 * unit, isLeft = left + wide / 2 < x + width / 2;
      const isBelow = marked && shape.i === undefined; // so that the names of a detection and of its object are not on each other
      const baseline = isBelow ? Math.min(top + high + size, y + height - 4 * unit) : Math.max(top - 4 * unit, y + size);
      group.append(draw("text", {
        x: isLeft ? Math.max(left, x + 2 * unit) : Math.min(left + wide, x + width - 2 * unit), y: baseline,
        "text-anchor": isLeft ? "start" : "end", "stroke-width": size / 4, style: `font-size:${size}px`,
      }, shape.text));
    }
    svg.append(group);
  }
  return svg;
}

function pair(id, kind, score) {
  const image = imageOf(id), view = [0, 0, image.width, image.height], source = { src: image.src, box: view };
  const shapes = shapesOf(image, kind, score);
  return el("div", { class: "pair" }, picture(view, source, shapes.objects, kind, `ground truth of ${image.file}`),
    picture(view, source, shapes.found, kind, `predictions of ${image.file}`));
}

const dialog = document.body.appendChild(el("dialog", { onclick: (event) => event.target === dialog && dialog.close() }));

function openImage(id, kind, score) {
  const image = imageOf(id);
  const box = el("div"), value = el("b"), told = el("p", { class: "soft" });
  const show = (limit) => {
    const shapes = shapesOf(image, kind, limit);
    const number = (list, tone) => list.filter((one) => one.tone === tone).length;
    value.textContent = fixed(limit, 2);
    told.textContent = `${number(shapes.found, "right")} right, ${number(shapes.found, "wrong")} wrong, ${number(shapes.objects, "missed")} missed`;
    box.replaceChildren(pair(id, kind, limit));
  };
  const slider = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: score, oninput: () => show(+slider.value) });
  dialog.replaceChildren(
    el("header", {}, el("h3", {}, image.file), el("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Close")),
    el("div", { class: "controls" }, el("label", {}, "Predictions with a score of at least", value, slider), told),
    box, el("p", { class: "soft" }, `image id ${id}, ${image.width} × ${image.height} pixels. Left: ground truth. Right: predictions.`));
  show(score);
  dialog.showModal();
}

function imageFigure(id, kind, score, caption) {
  if (!imageOf(id)?.src) return el("figure", {}, el("figcaption", {}, el("b", {}, fileName(id)), ` (image id ${id}; its picture is not on this page) `, caption));
  return el("figure", {},
    el("button", { type: "button", "aria-label": `enlarge ${fileName(id)}`, onclick: () => openImage(id, kind, score) }, pair(id, kind, score)),
    el("figcaption", {}, el("b", {}, fileName(id)), " ", caption));
}

// The part of an image around one detection or object.
function cropFigure(crop, id, kind, score, marks, caption) {
  const image = imageOf(id);
  if (!crop || !image) return el("figure", {}, el("figcaption", {}, caption, ` in ${fileName(id)}`));
  const shapes = shapesOf(image, kind, 0);
  const isDetection = (shape) => shape.i !== undefined && shape.i === marks.detection;
  const isObject = (shape) => shape.i === undefined && shape.id === marks.annotation;
  const shown = [...shapes.objects, ...shapes.found.filter((one) => one.s >= score || isDetection(one))]
    .filter((one) => isDetection(one) || isObject(one));
  const svg = picture(crop.box, crop, shown, kind, `${fileName(id)}, enlarged`, () => true);
  return el("figure", {},
    el("button", { type: "button", class: "single", "aria-label": `show ${fileName(id)}`, onclick: () => (image.src ? openImage(id, kind, score) : null) }, svg),
    el("figcaption", {}, caption));
}

const pictureKey = () => el("p", { class: "legend" },
  [["right", "found, and right detections"], ["wrong", "wrong detections"], ["missed", "missed objects"], ["aside", "crowds and ignored objects"]].map(([tone, text]) =>
    el("span", {}, draw("svg", { class: "picture", viewBox: "0 0 26 10" }, draw("rect", { x: 1, y: 1, width: 24, height: 8, fill: "none", "stroke-width": 2, stroke: TONES[tone], "stroke-dasharray": tone === "missed" ? "4 2" : null })), text)));

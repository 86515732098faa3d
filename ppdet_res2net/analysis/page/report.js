// The sections of a report. Everything that is shown is in DATA.report, which is report.json.

const REPORT = DATA.report;
const KIND_NAMES = { bbox: "Boxes", segm: "Masks" };
const kinds = Object.keys(REPORT.kinds);
const state = { kind: kinds.includes("segm") ? "segm" : kinds[0] };
const here = () => REPORT.kinds[state.kind];
const FIGURES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];
const MEANING = {
  AP: "mean over IoU 0.50 to 0.95 and all classes", AP50: "at IoU 0.5", AP75: "at IoU 0.75", APs: "small objects, below 32 × 32 pixels",
  APm: "medium objects", APl: "large objects, from 96 × 96 pixels", AR1: "recall with 1 detection per image", AR10: "recall with 10 detections per image",
  AR100: "recall with 100 detections per image", ARs: "recall of small objects", ARm: "recall of medium objects", ARl: "recall of large objects",
  boundary_AP: "AP by the IoU of the masks' edges",
};
const ERRORS = {
  Cls: "right place, wrong class", Loc: "right class, IoU too low", Both: "wrong class and IoU too low", Dupe: "a second detection of an object",
  Bkg: "on background", Miss: "objects that nothing found", FalsePos: "all wrong detections", FalseNeg: "all objects that are not found",
};
const REASONS = { unlabelled: "nothing is annotated here", unseen: "no detection overlaps this annotation", class: "annotated as another class" };
const allClasses = [["", "all classes"], ...DATA.classes.map((one, index) => [String(index), one.name])];
const usedScore = () => here().confusion.score;
const points = (value) => (isNumber(value) ? `${value.toFixed(value < 0.1 && value > 0 ? 3 : 2)} points` : NONE);

function summaryTiles() {
  const { figures, best } = here();
  const tile = (value, name, look = "") => el("div", { class: `tile ${look}` }, el("b", {}, value), el("span", {}, name));
  return el("div", { class: "tiles" }, tile(fixed(figures.AP), `${KIND_NAMES[state.kind].toLowerCase()} AP`, "main"), tile(fixed(figures.AP50), "AP50"),
    tile(fixed(best.f1), `best F1, at score ${exactScore(best.score)}`), tile(percent(best.precision), "precision there"), tile(percent(best.recall), "recall there"),
    tile(count(REPORT.dataset.images), "images"), tile(count(REPORT.dataset.objects), "objects"));
}

function averagePrecision() {
  const body = el("tbody", {}, kinds.flatMap((kind) => {
    const one = REPORT.kinds[kind];
    const row = (name, figures) => el("tr", {}, el("th", { scope: "row" }, name), FIGURES.map((key) => el("td", {}, fixed(figures[key]))));
    return [row(KIND_NAMES[kind], one.figures), one.boundary ? row("Edges of masks", one.boundary) : null];
  }));
  const heads = FIGURES.map((key) => el("th", { scope: "col" }, explained(el("span", { tabindex: 0 }, key), MEANING[key])));
  const byClass = new Map(REPORT.dataset.classes.map((one) => [one.category_id, one]));
  const has = (key) => here().classes.some((one) => isNumber(one.figures[key]));
  const columns = [
    { name: "class", value: (one) => one.name },
    { name: "images", value: (one) => byClass.get(one.category_id).images, text: count, hint: "images with an object of the class" },
    { name: "objects", value: (one) => byClass.get(one.category_id).objects, text: count },
    ...["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "boundary_AP"].filter(has).map((key) => ({
      name: key === "boundary_AP" ? "edge AP" : key, value: (one) => one.figures[key], text: fixed, meter: key === "AP", hint: MEANING[key] })),
    { name: "best score", value: (one) => one.best.score, text: exactScore, hint: "the threshold with the largest F1 of the class" },
    { name: "precision", value: (one) => one.best.precision, text: percent, hint: "at the best score" },
    { name: "recall", value: (one) => one.best.recall, text: percent, hint: "at the best score" },
    { name: "F1", value: (one) => one.best.f1, text: fixed, hint: "at the best score" },
  ];
  const groups = here().frequencies;
  return section("ap", "AP", "Average precision", "COCO's figures. AP is the area below the curve of precision and recall, averaged over classes and IoU thresholds; 1 is best.",
    card("", "", el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "COCO's twelve figures" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, ""), heads)), body))),
    groups.length ? card("By frequency", "Classes grouped by the number of images that show them, as LVIS does.", sortable([
      { name: "group", value: (one) => one.name }, { name: "classes", value: (one) => one.classes },
      ...["AP", "AP50", "AP75"].map((key) => ({ name: key, value: (one) => one.figures[key], text: fixed, meter: key === "AP" }))], groups, "figures by frequency")) : null,
    card(`Each class, ${KIND_NAMES[state.kind].toLowerCase()}`, "Choose a heading to sort by it.", sortable(columns, here().classes, "figures of each class")));
}

function precisionRecall() {
  const { pr } = here();
  const chosen = { of: "", iou: "all" };
  const box = el("div");
  const curves = () => {
    const source = chosen.of === "" ? pr.mean : pr.classes[+chosen.of];
    if (!source) return null;
    const line = (ys, name, look, color) => ({ name, xs: pr.recalls, ys, look, color });
    if (chosen.iou === "all") return source.map((ys, index) => line(ys, `IoU ${pr.ious[index]}`, index === 0 ? "accent" : pr.ious[index] === 0.75 ? "dash" : "thin"));
    const index = pr.ious.findIndex((iou) => String(iou) === chosen.iou);
    const others = chosen.of === "" && DATA.classes.length <= 100 ? pr.classes.flatMap((one, i) => (one ? [line(one[index], DATA.classes[i].name, "thin", DATA.classes[i].color)] : [])) : [];
    return [line(source[index], chosen.of === "" ? "mean" : DATA.classes[+chosen.of].name, "accent"), ...others];
  };
  const show = () => {
    const series = curves();
    if (!series) { box.replaceChildren(el("p", { class: "soft" }, "The dataset has no objects of this class.")); return; }
    box.replaceChildren(lineChart({ label: "precision against recall", x: { low: 0, high: 1, title: "recall" }, y: { low: 0, high: 1, title: "precision" }, series }), series.length <= 12 ? legend(series) : "");
  };
  const controls = el("div", { class: "controls" }, picker("Class", allClasses, (value) => { chosen.of = value; show(); }),
    picker("IoU", [["all", "all"], ...pr.ious.map((iou) => [String(iou), String(iou)])], (value) => { chosen.iou = value; show(); }));
  show();
  return section("pr", "PR curves", "Precision and recall", "Each curve goes through all scores: from few detections that are mostly right, on the left, to all of them. A single IoU shows every class beside the mean.",
    card("", "", controls, box));
}

function thresholds() {
  const { curves, best, classes } = here();
  const box = el("div"), told = el("p", { class: "lead" }), line = el("div");
  let of = "";
  const chart = () => {
    const curve = of === "" ? curves.overall : curves.classes[+of];
    const point = of === "" ? best : classes[+of].best;
    const series = [["F1", "f1", "accent"], ["precision", "precision", ""], ["recall", "recall", "dash"]].map(([name, key, look]) => ({ name, look, xs: curves.scores, ys: curve[key] }));
    const mark = isNumber(point.score) ? { x: point.score, text: `best: ${exactScore(point.score)}` } : null;
    box.replaceChildren(lineChart({ label: "precision, recall and F1 against the score", x: { low: 0, high: 1, title: "score" }, y: { low: 0, high: 1, title: "share" }, series, mark }), legend(series));
    told.textContent = mark ? `At a score of ${exactScore(point.score)}: precision ${percent(point.precision)}, recall ${percent(point.recall)}, F1 ${fixed(point.f1)}; ${count(point.right)} right, ${count(point.wrong)} wrong, ${count(point.missed)} missed.` : "No detection of this class is right at any score.";
  };
  const own = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: best.score ?? 0.5, oninput: () => chooseOwn() });
  const ownTold = el("span", { class: "soft" });
  const chooseOwn = () => {
    const index = Math.round(+own.value * (curves.scores.length - 1));
    const at = (key) => curves.overall[key][index];
    ownTold.textContent = `${fixed(+own.value, 2)}: precision ${percent(at("precision"))}, recall ${percent(at("recall"))}, F1 ${fixed(at("f1"))}`;
    line.replaceChildren(command(DATA.commands.value.replace("SCORE", (+own.value).toFixed(2))));
  };
  const deploying = (which) => {
    const text = DATA.commands[`${which}_${state.kind}`];
    return text ? command(text) : el("p", {}, "There is none: no detection is right.");
  };
  chart();
  chooseOwn();
  return section("threshold", "Threshold", "Which score to deploy", `A detection counts as right if it is of the class of an object and their IoU is at least ${REPORT.settings.iou}. F1 is the harmonic mean of precision and recall.`,
    card("", "", el("div", { class: "controls" }, picker("Class", allClasses, (value) => { of = value; chart(); })), told, box),
    DATA.commands.value ? card("Deploy it", "These commands write the threshold into an exported folder, where infer.py and the Predictor take it from.",
      el("p", { class: "soft" }, "The best one for all classes:"), deploying("best"),
      el("p", { class: "soft" }, "The best one of each class:"), deploying("classes"),
      el("div", { class: "controls" }, el("label", {}, "Another one", own), ownTold), line) : null);
}

function confusion() {
  const { cells, iou, score } = here().confusion;
  const key = (truth, found) => `${truth}|${found}`;
  const byKey = new Map(cells.map((cell) => [key(cell.truth, cell.found), cell]));
  const wrong = cells.filter((cell) => cell.truth !== cell.found).sort((a, b) => b.count - a.count);
  const chosen = el("div", { "aria-live": "polite" });
  let pressed = [];
  const say = (cell) => (cell.found === null ? `${className(cell.truth)}: missed` : cell.truth === null ? `${className(cell.found)} on background`
    : cell.truth === cell.found ? `${className(cell.truth)}: right` : `${className(cell.truth)} taken for ${className(cell.found)}`);
  const open = (cell) => {
    pressed.forEach((node) => node.setAttribute("aria-pressed", "false"));
    pressed = buttons.get(cell) ?? [];
    pressed.forEach((node) => node.setAttribute("aria-pressed", "true"));
    chosen.replaceChildren(card(`${say(cell)} (${count(cell.count)})`, cell.image_ids.length > 1 ? `${plural(cell.image_ids.length, "image")}, those with most of them first.` : "", pictureKey(),
      gallery(cell.image_ids.map((id) => () => imageFigure(id, state.kind, score, "")), 6)));
    chosen.scrollIntoView({ block: "nearest" });
  };
  const buttons = new Map();
  const button = (cell, attributes, ...children) => {
    const node = el("button", { type: "button", "aria-pressed": "false", onclick: () => open(cell), ...attributes }, children);
    buttons.set(cell, [...(buttons.get(cell) ?? []), node]);
    return node;
  };
  const isLarge = DATA.classes.length > 30;
  let ids = DATA.classes.map((one) => one.id);
  if (isLarge) {
    const weight = new Map(ids.map((id) => [id, 0]));
    wrong.filter((cell) => cell.truth !== null && cell.found !== null).forEach((cell) => [cell.truth, cell.found].forEach((id) => weight.set(id, weight.get(id) + cell.count)));
    const chosenIds = new Set([...ids].sort((a, b) => weight.get(b) - weight.get(a)).slice(0, 20));
    ids = ids.filter((id) => chosenIds.has(id));
  }
  const labels = [...ids, null];
  const totals = new Map(labels.map((truth) => [truth, cells.filter((cell) => cell.truth === truth).reduce((sum, cell) => sum + cell.count, 0)]));
  const table = el("table", { class: "matrix" },
    el("thead", {}, el("tr", {}, el("td", {}), labels.map((id) => el("th", { scope: "col", title: className(id) }, className(id))))),
    el("tbody", {}, labels.map((truth) => el("tr", {}, el("th", { scope: "row", title: className(truth) }, className(truth)), labels.map((found) => {
      const cell = byKey.get(key(truth, found));
      if (!cell) return el("td", {}, el("i"));
      const part = cell.count / (totals.get(truth) || 1);
      const node = button(cell, { class: part > 0.45 && truth === found ? "strong" : "", "aria-label": `${say(cell)}: ${cell.count}` }, cell.count > 9999 ? `${Math.round(cell.count / 1000)}k` : String(cell.count));
      node.style.setProperty("--share", `${Math.round(100 * Math.max(0.08, truth === found ? part : 0.6 * part))}%`);
      node.style.setProperty("--tone", truth === found ? "var(--accent)" : "var(--error)");
      return el("td", {}, explained(node, `${say(cell)}: ${plural(cell.count, "time")}\n${percent(part)} of ${truth === null ? "the detections on background" : `the objects of ${className(truth)}`}`));
    })))));
  if (labels.length > 14) table.style.setProperty("--cell", "36px");
  const top = el("ul", { class: "list" }, wrong.slice(0, 14).map((cell) => el("li", {}, button(cell, {}, say(cell), el("b", {}, count(cell.count))))));
  return section("confusion", "Confusion", "What is taken for what", `Detections with a score of at least ${exactScore(score)} on objects with an IoU of at least ${iou}. Rows are the annotated classes, columns the detected ones. Choose a cell to see its images.`,
    el("div", { class: labels.length > 12 ? "" : "two" }, card(isLarge ? "The 20 classes that are confused most" : "", "", el("div", { class: "wide" }, table)), card("The most frequent mistakes", "", wrong.length ? top : el("p", { class: "soft" }, "There are none."))), chosen);
}

function lostPrecision() {
  const charts = kinds.map((kind) => {
    const { errors } = REPORT.kinds[kind];
    const rows = (lost) => Object.entries(lost).map(([type, value]) => ({ name: type, value, text: fixed(value, 2),
      hint: `${ERRORS[type] ?? type}\n${points(value)} of AP${type in errors.counts ? `\n${count(errors.counts[type])} of them` : ""}` }));
    const all = [...rows(errors.lost_points), ...rows(errors.special_points)];
    return card(KIND_NAMES[kind], `AP is ${fixed(errors.ap_points, 1)} of 100 points at IoU ${errors.iou}.`, barChart({ label: `AP lost, ${KIND_NAMES[kind]}`, rows: all, title: "points of AP that mending would gain" }));
  });
  const terms = el("dl", { class: "facts" }, Object.entries(ERRORS).flatMap(([type, text]) => [el("dt", {}, type), el("dd", {}, text)]));
  return section("lost", "Errors", "Where AP is lost", "What AP would gain if all errors of one type were mended and the others stayed, as TIDE defines them. The gains do not add up.",
    el("div", { class: "two" }, charts), card("", "", terms));
}

function breakdowns() {
  const charts = here().breakdowns.map((one) => card({ size: "By size", aspect: "By shape", crowding: "By crowding" }[one.by] ?? one.by,
    { size: "Areas as in COCO.", aspect: "Width divided by height.", crowding: "Other objects whose boxes overlap this one." }[one.by] ?? "",
    barChart({ label: one.by, title: "share", high: 1, rows: one.groups.map((group) => {
      const missed = share(group.missed, group.objects), wrong = share(group.wrong, group.detections);
      return { name: group.name, value: missed, text: percent(missed), second: wrong ?? 0, secondText: percent(wrong),
        hint: `${group.name}\n${count(group.missed)} of ${plural(group.objects, "object")} missed\n${count(group.wrong)} of ${plural(group.detections, "detection")} wrong` };
    }) }), el("p", { class: "legend" }, [["bar", "objects missed"], ["bar second", "detections wrong"]].map(([look, text]) => el("span", {}, draw("svg", { class: "chart", viewBox: "0 0 26 10" }, draw("rect", { class: look, width: 26, height: 10, rx: 3 })), text)))));
  return section("groups", "Groups", "What is missed, what is wrong", `At a score of at least ${exactScore(usedScore())}.`, el("div", { class: "two" }, charts));
}

function calibration() {
  const { bins, error } = here().calibration;
  return section("calibration", "Calibration", "Whether scores can be believed", "If a score of 0.8 meant that 80 % of such detections are right, the bars would end on the dotted line. Strong bars hold many detections.",
    card("", `Expected calibration error: ${fixed(error)}.`, calibrationChart(bins)));
}

function worstImages() {
  const figures = here().worst_images.map((one) => () => imageFigure(one.image_id, state.kind, usedScore(), `costs ${points(one.cost_points)}: ${one.right} right, ${one.wrong} wrong, ${one.missed} missed`));
  return section("images", "Images", "The images that cost most", "Ground truth on the left, predictions on the right. The cost of an image is what AP would gain if its mistakes were mended one by one. Choose a picture to enlarge it and to move the threshold.",
    pictureKey(), gallery(figures));
}

// Mistakes or suspects, of which one kind can be chosen.
function filtered(entries, typeOf, describe, crops) {
  const types = [...new Set(entries.map(typeOf))];
  const box = el("div");
  const show = (type) => box.replaceChildren(gallery(entries.flatMap((one, index) => (type === "" || typeOf(one) === type ? [() => cropFigure(crops[index], one.image_id, state.kind, usedScore(),
    { detection: one.detection?.index, annotation: one.annotation?.id }, describe(one))] : [])), 12, "210px"));
  show("");
  return [types.length > 1 ? el("div", { class: "controls" }, choice("type", [["", "all"], ...types.map((type) => [type, type])], "", show)) : null, box];
}

const describeMistake = (one) => {
  const what = one.detection ? `${className(one.detection.category_id)} ${fixed(one.detection.score, 2)}` : className(one.annotation?.category_id);
  const truth = one.detection && one.annotation && one.type !== "Dupe" && one.annotation.category_id !== one.detection.category_id ? `, annotated as ${className(one.annotation.category_id)}` : "";
  return [el("b", {}, what), `${truth}: ${ERRORS[one.type]}; costs ${points(one.cost_points)}`];
};

const describeSuspect = (one) => {
  const truth = one.annotation ? `${className(one.annotation.category_id)} (annotation id ${one.annotation.id})` : "";
  const found = one.detection ? `${className(one.detection.category_id)} ${fixed(one.detection.score, 2)}` : "";
  return [el("b", {}, found || truth), found && truth ? `, annotated as ${truth}` : `: ${REASONS[one.reason]}`, ` in ${fileName(one.image_id)}`];
};

function mistakes() {
  return section("mistakes", "Mistakes", "The mistakes that cost most", "One detection or object each, with the annotated object that it is nearest to.",
    pictureKey(), filtered(here().mistakes, (one) => one.type, describeMistake, DATA.pictures.crops[state.kind]?.mistakes ?? []));
}

function suspects() {
  return section("labels", "Labels", "Annotations to look at", "Where detector and annotation differ so clearly that the annotation may be wrong: confident detections on nothing, annotations that no detection overlaps, and other classes.",
    filtered(here().suspects, (one) => one.reason, describeSuspect, DATA.pictures.crops[state.kind]?.suspects ?? []));
}

function about() {
  const { run, dataset, versions, settings } = REPORT;
  const classRows = dataset.classes;
  return section("about", "About", "About this report", `Made at ${REPORT.created.replace("T", " ").replace(/[.+].*$|Z$/, "")} UTC. Every figure on this page is also in report.json beside it.`,
    el("div", { class: "two" },
      card("Run", "", facts([["model", run.model], ["engine", run.engine], ["device", run.device], ["time", isNumber(run.seconds) ? `${fixed(run.seconds, 1)} s` : null],
        ["speed", isNumber(run.images_per_second) ? `${fixed(run.images_per_second, 2)} images/s` : null], ["largest memory", isNumber(run.peak_memory_mb) ? `${count(Math.round(run.peak_memory_mb))} MiB` : null]])),
      card("Dataset", "", facts([["annotations", dataset.source], ["images", `${count(dataset.images)}, ${count(dataset.empty_images)} without objects`], ["objects", `${count(dataset.objects)}, and ${count(dataset.set_aside)} crowds or ignored`],
        ["sizes", Object.entries(dataset.sizes).map(([name, number]) => `${count(number)} ${name}`).join(", ")]])),
      card("Versions", "", facts(Object.entries(versions))), card("Settings", "", facts(Object.entries(settings).map(([name, value]) => [name, value === null ? "chosen by the report" : value])))),
    card("Classes of the dataset", "", sortable([{ name: "class", value: (one) => one.name }, { name: "id", value: (one) => one.category_id }, { name: "images", value: (one) => one.images, text: count },
      { name: "objects", value: (one) => one.objects, text: count }, { name: "set aside", value: (one) => one.set_aside, text: count, hint: "crowds and ignored objects" }], classRows, "classes of the dataset")));
}

const main = el("main");
const nav = el("nav", { "aria-label": "sections" });
function render() {
  sections.length = 0;
  const nodes = [averagePrecision, precisionRecall, thresholds, confusion, lostPrecision, breakdowns, calibration, worstImages, mistakes, suspects, about].map((make) => make());
  main.replaceChildren(summaryTiles(), ...REPORT.notes.map((note) => el("p", { class: "lead" }, note)), ...nodes);
  nav.replaceChildren(...(kinds.length > 1 ? [choice("what is compared", kinds.map((kind) => [kind, KIND_NAMES[kind]]), state.kind, (kind) => { state.kind = kind; render(); })] : []),
    ...sections.map(([id, short]) => el("a", { href: `#${id}` }, short)));
}
document.querySelector("#static").remove();
render();
document.body.append(nav, main);
document.body.prepend(document.querySelector("header.page"));
document.querySelector("header.page").after(nav, main);

// The page of a comparison: DATA.comparisons, each of a later report with the first one.

const KIND_NAMES = { bbox: "Boxes", segm: "Masks" };
const VERDICTS = { better: "better", worse: "worse", noise: "may be chance", "too few": "too few images to tell" };
const signed = (value, digits = 3) => (isNumber(value) ? `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(digits)}` : NONE);
const state = { at: 0, kind: Object.keys(DATA.comparisons[0].kinds)[0], figure: "AP" };
const main = el("main"), nav = el("nav", { "aria-label": "sections" });

// A difference with its interval as a line, and zero as an axis.
function intervalChart(rows) {
  const limit = Math.max(0.02, ...rows.flatMap((row) => [row.low, row.high, row.difference]).filter(isNumber).map(Math.abs)) * 1.1;
  return responsive((width) => {
    const rowHeight = 26, height = rows.length * rowHeight + 50, left = Math.min(190, 20 + 7.2 * Math.max(...rows.map((row) => row.name.length)));
    const frame = { left, right: width - 74, top: 4, bottom: height - 44 };
    const toX = (value) => (frame.left + frame.right) / 2 + (value / limit) * ((frame.right - frame.left) / 2);
    const svg = draw("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "differences with their intervals" });
    for (const tick of niceTicks(-limit, limit, width < 420 ? 3 : 6)) {
      svg.append(draw("line", { class: tick === 0 ? "axis" : "grid", x1: toX(tick), x2: toX(tick), y1: frame.top, y2: frame.bottom }));
      svg.append(draw("text", { x: toX(tick), y: frame.bottom + 18, "text-anchor": "middle" }, signed(tick, 2).replace("±0.00", "0")));
    }
    svg.append(draw("text", { class: "title", x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, `difference of ${state.figure}`));
    rows.forEach((row, index) => {
      const y = frame.top + (index + 0.5) * rowHeight;
      const hint = `${row.name}: ${fixed(row.before)} → ${fixed(row.after)}\n${signed(row.difference)}, 95 % of the samples between ${signed(row.low)} and ${signed(row.high)}\n${VERDICTS[row.verdict]}`;
      const name = row.name.length > 24 ? `${row.name.slice(0, 23)}…` : row.name;
      svg.append(explained(draw("g", { class: `interval ${row.verdict}`, tabindex: 0, role: "img", "aria-label": hint },
        draw("rect", { x: 0, y: y - rowHeight / 2, width, height: rowHeight, fill: "transparent" }),
        draw("text", { x: frame.left - 10, y: y + 4, "text-anchor": "end" }, name),
        isNumber(row.low) ? draw("line", { x1: toX(row.low), x2: toX(row.high), y1: y, y2: y }) : null,
        isNumber(row.difference) ? draw("circle", { cx: toX(row.difference), cy: y, r: 4.5 }) : null,
        draw("text", { class: "value", x: width - 4, y: y + 4, "text-anchor": "end" }, signed(row.difference))), hint));
    });
    return svg;
  });
}

function changes(title, list, total, which, index) {
  const crops = DATA.crops[index]?.[state.kind]?.[which] ?? [];
  const figure = (one, place) => () => {
    const crop = crops[place], file = DATA.files[one.image_id] ?? `image id ${one.image_id}`;
    const caption = el("figcaption", {}, el("b", {}, DATA.names[one.annotation.category_id] ?? `class ${one.annotation.category_id}`), ` found with score ${fixed(one.detection.score, 2)}, in ${file}`);
    if (!crop) return el("figure", {}, caption);
    const svg = draw("svg", { class: "picture single", viewBox: crop.box.join(" "), role: "img", "aria-label": file });
    const [x, y, width, height] = crop.box;
    if (crop.src) svg.append(draw("image", { x, y, width, height, preserveAspectRatio: "none", href: crop.src }));
    for (const [box, tone] of [[one.annotation.bbox_xywh, which === "gained" ? "#2fbf71" : "#ffab2e"], [one.detection.bbox_xywh, "#ffffff"]]) {
      svg.append(draw("rect", { class: `shape ${tone === "#ffffff" ? "lost" : "mark"}`, x: box[0], y: box[1], width: box[2], height: box[3], stroke: tone, fill: "none" }));
    }
    return el("figure", {}, svg, caption);
  };
  return card(`${title}: ${plural(total, "object")}`, list.length < total ? `The ${list.length} with the highest scores.` : "", gallery(list.map(figure), 12, "200px"));
}

function render() {
  const one = DATA.comparisons[state.at], kinds = Object.keys(one.kinds);
  if (!kinds.includes(state.kind)) state.kind = kinds[0];
  const { overall, classes, gained, lost, gained_count: gainedCount, lost_count: lostCount } = one.kinds[state.kind];
  const rows = [...overall, ...classes].filter((row) => row.figure === state.figure);
  // What is more than chance first, what cannot be told last; the mean of all stays on top.
  const rank = (row) => [row.category_id === null ? 0 : 1, { better: 1, worse: 1, noise: 2 }[row.verdict] ?? 3, -Math.abs(row.difference ?? 0)];
  const ranked = [...rows].sort((a, b) => rank(a).map((value, i) => value - rank(b)[i]).find((value) => value) ?? 0);
  const tiles = overall.map((row) => el("div", { class: `tile ${row.figure === "AP" ? "main" : ""}` }, el("b", {}, signed(row.difference)), el("span", {}, `${row.figure}: ${fixed(row.before)} → ${fixed(row.after)}, ${VERDICTS[row.verdict]}`)));
  sections.length = 0;
  const columns = [{ name: "class", value: (row) => row.name }, { name: "before", value: (row) => row.before, text: fixed }, { name: "after", value: (row) => row.after, text: fixed },
    { name: "difference", value: (row) => row.difference, text: signed }, { name: "from", value: (row) => row.low, text: signed, hint: "lower end of the 95 % interval" },
    { name: "to", value: (row) => row.high, text: signed, hint: "upper end of the 95 % interval" }, { name: "verdict", value: (row) => VERDICTS[row.verdict] }];
  main.replaceChildren(
    el("p", {}, DATA.sentences[state.at][state.kind]), el("div", { class: "tiles" }, tiles),
    section("classes", "Classes", "Each class", `Points are the measured differences, lines hold the difference in 95 % of ${count(one.resamples)} random samples of the ${count(one.images)} images. Where a line crosses zero, other images might say the opposite.`,
      el("div", { class: "controls" }, choice("figure", [["AP", "AP"], ["AP50", "AP50"]], state.figure, (figure) => { state.figure = figure; render(); })),
      card("", ranked.length > 40 ? "The 39 classes that say most; the table has all." : "", intervalChart(ranked.slice(0, 40))), card("", "", sortable(columns, rows, "differences of each class"))),
    section("objects", "Objects", "Gained and lost objects", "Each report counts detections from its own best threshold on. The annotated box is drawn with a full line, the detection dashed.",
      changes("Gained", gained, gainedCount, "gained", state.at), changes("Lost", lost, lostCount, "lost", state.at)));
  nav.replaceChildren(...(kinds.length > 1 ? [choice("what is compared", kinds.map((kind) => [kind, KIND_NAMES[kind]]), state.kind, (kind) => { state.kind = kind; render(); })] : []),
    ...(DATA.comparisons.length > 1 ? [choice("which report", DATA.comparisons.map((other, index) => [index, other.after]), state.at, (index) => { state.at = index; render(); })] : []),
    ...sections.map(([id, short]) => el("a", { href: `#${id}` }, short)));
}
document.querySelector("#static").remove();
render();
document.querySelector("header.page").after(nav, main);

// Charts in SVG, drawn in pixels of the screen so that texts keep their size.

const niceTicks = (low, high, wanted = 5) => {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i += 1) ticks.push(+(i * step).toPrecision(12));
  return ticks;
};

function axes(width, height, x, y, left = 46) {
  const frame = { left, top: 12, right: width - 14, bottom: height - 42 };
  const toX = (value) => frame.left + ((value - x.low) / (x.high - x.low)) * (frame.right - frame.left);
  const toY = (value) => frame.bottom - ((value - y.low) / (y.high - y.low)) * (frame.bottom - frame.top);
  const parts = [];
  for (const tick of niceTicks(y.low, y.high)) {
    parts.push(draw("line", { class: "grid", x1: frame.left, x2: frame.right, y1: toY(tick), y2: toY(tick) }));
    parts.push(draw("text", { x: frame.left - 8, y: toY(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of niceTicks(x.low, x.high, width < 420 ? 4 : 8)) {
    parts.push(draw("line", { class: "grid", x1: toX(tick), x2: toX(tick), y1: frame.bottom, y2: frame.bottom + 5 }));
    parts.push(draw("text", { x: toX(tick), y: frame.bottom + 19, "text-anchor": "middle" }, String(tick)));
  }
  parts.push(draw("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }));
  parts.push(draw("text", { class: "title", x: (frame.left + frame.right) / 2, y: height - 4, "text-anchor": "middle" }, x.title));
  const middle = (frame.top + frame.bottom) / 2;
  parts.push(draw("text", { class: "title", x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, y.title));
  return { frame, toX, toY, parts };
}

// Lines over one axis. A series has `name`, `xs` (ascending), `ys` (null leaves a gap) and `look`, a class of the style.
// `mark` is {x, text}: a vertical line with a label. The cursor follows the pointer, and the arrow keys.
function lineChart({ label, x, y, series, mark = null, height = 340, format = (value) => fixed(value) }) {
  return responsive((width) => {
    const { frame, toX, toY, parts } = axes(width, height, x, y);
    const svg = draw("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": label }, parts);
    for (const one of series) {
      let path = "", isDown = false;
      one.ys.forEach((value, index) => {
        if (isNumber(value)) path += `${isDown ? "L" : "M"}${toX(one.xs[index]).toFixed(1)} ${toY(value).toFixed(1)}`;
        isDown = isNumber(value);
      });
      if (path) svg.append(draw("path", { class: one.look, d: path, stroke: one.color }));
    }
    if (mark) {
      const isRight = toX(mark.x) > (frame.left + frame.right) / 2;
      svg.append(draw("line", { class: "best", x1: toX(mark.x), x2: toX(mark.x), y1: frame.top, y2: frame.bottom }));
      svg.append(draw("text", { class: "best-label", x: toX(mark.x) + (isRight ? -7 : 7), y: frame.bottom - 10, "text-anchor": isRight ? "end" : "start" }, mark.text));
    }
    const cursor = svg.appendChild(draw("g", { visibility: "hidden" }, draw("line", { class: "cursor", y1: frame.top, y2: frame.bottom })));
    let at = null;
    const move = (value) => {
      at = Math.max(x.low, Math.min(x.high, value));
      const rows = [];
      cursor.querySelectorAll("circle").forEach((dot) => dot.remove());
      for (const one of series) {
        let index = 0;
        while (index + 1 < one.xs.length && Math.abs(one.xs[index + 1] - at) <= Math.abs(one.xs[index] - at)) index += 1;
        if (!isNumber(one.ys[index])) continue;
        if (rows.length < 12) rows.push(`${one.name}: ${format(one.ys[index])}`);
        if (series.length <= 10) cursor.append(draw("circle", { class: "dot", r: 4, cx: toX(one.xs[index]), cy: toY(one.ys[index]) }));
      }
      cursor.firstChild.setAttribute("x1", toX(at));
      cursor.firstChild.setAttribute("x2", toX(at));
      cursor.setAttribute("visibility", "visible");
      return `${x.title.toLowerCase()} ${fixed(at, 2)}\n${rows.join("\n")}`;
    };
    const fromScreen = (event) => {
      const box = svg.getBoundingClientRect();
      return x.low + ((event.clientX - box.left - frame.left) / (frame.right - frame.left)) * (x.high - x.low);
    };
    const leave = () => { cursor.setAttribute("visibility", "hidden"); hideTip(); };
    svg.addEventListener("pointermove", (event) => showTip(move(fromScreen(event)), event.clientX, event.clientY));
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const text = move((at === null ? x.low : at) + (step * (x.high - x.low)) / 100);
      const box = svg.getBoundingClientRect();
      showTip(text, box.left + toX(at), box.top + frame.top);
    });
    return svg;
  });
}

const legend = (series) => el("p", { class: "legend" }, series.map((one) => el("span", {},
  draw("svg", { class: "chart", viewBox: "0 0 26 10" }, draw("path", { class: one.look, d: "M0 5H26", stroke: one.color })), one.name)));

// Horizontal bars with a real axis. A row has `name`, `value`, `text` and `hint`; a second `value` is drawn below the first.
function barChart({ label, rows, title, high }) {
  const rowHeight = rows.some((row) => isNumber(row.second)) ? 46 : 32;
  const top = Math.max(...rows.flatMap((row) => [row.value, row.second]).filter(isNumber), 0);
  const limit = high ?? (top > 0 ? niceTicks(0, top * 1.25, 5).at(-1) || top * 1.25 : 1);
  return responsive((width) => {
    const height = rows.length * rowHeight + 54;
    const left = Math.min(150, 20 + 7.2 * Math.max(...rows.map((row) => row.name.length)));
    const frame = { left, top: 6, right: width - 58, bottom: height - 44 };
    const toX = (value) => frame.left + (Math.min(value, limit) / limit) * (frame.right - frame.left);
    const svg = draw("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const tick of niceTicks(0, limit, width < 420 ? 3 : 5)) {
      svg.append(draw("line", { class: "grid", x1: toX(tick), x2: toX(tick), y1: frame.top, y2: frame.bottom }));
      svg.append(draw("text", { x: toX(tick), y: frame.bottom + 18, "text-anchor": "middle" }, String(tick)));
    }
    svg.append(draw("text", { class: "title", x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, title));
    rows.forEach((row, index) => {
      const y = frame.top + index * rowHeight, has = isNumber(row.second), thick = has ? 15 : 18;
      const one = (value, text, offset, look) => [
        draw("rect", { class: look, x: frame.left, y: y + offset, width: Math.max(toX(value || 0) - frame.left, value ? 1.5 : 0), height: thick, rx: 3 }),
        draw("text", { class: "value", x: toX(value || 0) + 7, y: y + offset + thick - 3 }, text),
      ];
      const group = draw("g", { tabindex: 0, role: "img", "aria-label": `${row.name}: ${row.hint}` },
        draw("rect", { x: 0, y, width, height: rowHeight, fill: "transparent" }),
        draw("text", { x: frame.left - 10, y: y + rowHeight / 2 + 3, "text-anchor": "end" }, row.name),
        one(row.value, row.text, has ? 5 : 7, "bar"), has ? one(row.second, row.secondText, 22, "bar second") : []);
      svg.append(explained(group, row.hint));
    });
    svg.append(draw("line", { class: "axis", x1: frame.left, x2: frame.left, y1: frame.top, y2: frame.bottom }));
    return svg;
  });
}

// Precision against the mean score of each range of scores, and below it how many detections each range has.
function calibrationChart(bins) {
  return responsive((width) => {
    const height = 380, x = { low: 0, high: 1, title: "score" }, y = { low: 0, high: 1, title: "share of right detections" };
    const { frame, toX, toY, parts } = axes(width, height, x, y);
    const svg = draw("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Share of right detections in each range of scores" }, parts);
    const most = Math.max(1, ...bins.map((bin) => bin.count));
    for (const bin of bins) {
      if (!bin.count) continue;
      const left = toX(bin.low) + 1, wide = Math.max(1, toX(bin.high) - toX(bin.low) - 2);
      const hint = `scores ${fixed(bin.low, 2)} to ${fixed(bin.high, 2)}\n${plural(bin.count, "detection")}\nmean score ${fixed(bin.score)}\n${percent(bin.precision)} are right`;
      svg.append(explained(draw("g", { tabindex: 0, role: "img", "aria-label": hint },
        draw("rect", { x: left, y: frame.top, width: wide, height: frame.bottom - frame.top, fill: "transparent" }),
        draw("rect", { class: "bar", x: left, y: toY(bin.precision), width: wide, height: frame.bottom - toY(bin.precision), opacity: 0.25 + (0.75 * bin.count) / most, rx: 2 })), hint));
    }
    svg.append(draw("line", { class: "ideal", x1: toX(0), y1: toY(0), x2: toX(1), y2: toY(1) }));
    return svg;
  });
}

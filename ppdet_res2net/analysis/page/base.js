// Elements, numbers, the tooltip, and tables. Texts become text nodes, never HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const NONE = "–";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const fixed = (value, digits = 3) => (isNumber(value) ? value.toFixed(digits) : NONE);
const percent = (value) => (isNumber(value) ? `${(100 * value).toFixed(1)} %` : NONE);
const share = (part, whole) => (whole ? part / whole : null);
const count = (value) => (isNumber(value) ? value.toLocaleString("en-GB") : NONE);
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// A score with as many digits as it needs: a rounded one might leave out the detection that it stands for.
const exactScore = (value) => (isNumber(value) ? String(+value.toPrecision(12)) : NONE);

const tip = document.body.appendChild(el("div", { id: "tip", hidden: true, role: "status" }));

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - box.width - 16 : x + 16;
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${Math.max(6, Math.min(y + 14, innerHeight - box.height - 6))}px`;
}

function hideTip() {
  tip.hidden = true;
}

// What explains an element on hover and on keyboard focus.
function explained(node, text) {
  const atNode = () => {
    const box = node.getBoundingClientRect();
    showTip(text, box.left + box.width / 2, box.bottom - 8);
  };
  node.addEventListener("pointermove", (event) => showTip(text, event.clientX, event.clientY));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("focus", () => node.matches(":focus-visible") && atNode());
  node.addEventListener("blur", hideTip);
  return node;
}

// A node that is drawn again whenever its width changes.
function responsive(makeDrawing, className = "") {
  const box = el("div", { class: className });
  let width = 640;
  const redraw = () => box.replaceChildren(makeDrawing(Math.max(240, width)));
  redraw();
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) > 0.5) {
      width = entry.contentRect.width;
      requestAnimationFrame(redraw); // a new height within the observer's own turn would be reported as an error
    }
  }).observe(box);
  return box;
}

// Buttons of which one is pressed. `options` are pairs of a value and a text.
function choice(label, options, chosen, onChoose) {
  const buttons = options.map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text));
  const choose = (value) => {
    options.forEach(([one], index) => buttons[index].setAttribute("aria-pressed", String(one === value)));
    onChoose(value);
  };
  return el("span", { class: "switch", role: "group", "aria-label": label }, buttons);
}

function picker(label, options, onChoose) {
  const list = el("select", { onchange: () => onChoose(list.value) },
    options.map(([value, text]) => el("option", { value }, text)));
  const node = el("label", {}, label, list);
  node.set = (value) => { list.value = value; };
  return node;
}

// A table whose columns sort. A column has `name`, `value(row)`, and perhaps `text(value)`, `meter`, `hint`.
function sortable(columns, rows, caption) {
  let by = null, isDown = true;
  const body = el("tbody");
  const heads = columns.map((column, index) => {
    const button = el("button", { type: "button", onclick: () => sortBy(index) }, column.name);
    if (column.hint) explained(button, column.hint);
    return el("th", { scope: "col", "aria-sort": "none" }, button);
  });
  const filled = rows.map((row) => {
    const cells = columns.map((column, index) => {
      const value = column.value(row);
      const text = column.text ? column.text(value) : String(value);
      const cell = el(index ? "td" : "th", index ? {} : { scope: "row", title: text }, text);
      if (column.meter && isNumber(value)) {
        cell.className = "meter";
        cell.style.setProperty("--share", `${100 * Math.max(0, Math.min(1, value))}%`);
      }
      return cell;
    });
    return { row, node: el("tr", {}, cells) };
  });
  const sortBy = (index) => {
    isDown = by === index ? !isDown : index > 0;
    by = index;
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === by ? (isDown ? "descending" : "ascending") : "none"));
    const key = ({ row }) => columns[by].value(row);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const known = filled.filter((one) => key(one) !== null), unknown = filled.filter((one) => key(one) === null);
    known.sort((a, b) => (isDown ? -1 : 1) * compare(key(a), key(b)));
    body.replaceChildren(...[...known, ...unknown].map((one) => one.node));
  };
  body.append(...filled.map((one) => one.node));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, heads)), body));
}

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function command(text) {
  const button = el("button", { type: "button", class: "button", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // pages opened from a file may not write to the clipboard
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }
  const code = el("code", {}, text);
  return el("pre", { class: "command" }, code, button);
}

// A gallery that shows a few figures at first. `makers` are functions, so that what is not shown costs nothing.
function gallery(makers, first = 8, cell = "340px") {
  const box = el("div", { class: "gallery" });
  box.style.setProperty("--cell", cell);
  const more = el("button", { type: "button", class: "button more" });
  let shown = 0;
  const add = (number) => {
    box.append(...makers.slice(shown, shown + number).map((make) => make()));
    shown = Math.min(makers.length, shown + number);
    more.hidden = shown >= makers.length;
    more.textContent = `Show more (${makers.length - shown} left)`;
  };
  more.addEventListener("click", () => add(3 * first));
  add(first);
  return el("div", {}, makers.length ? box : el("p", { class: "soft" }, "There are none."), more);
}

const card = (title, lead, ...children) =>
  el("div", { class: "card" }, title ? el("h3", {}, title) : null, lead ? el("p", { class: "lead" }, lead) : null, children);

const sections = [];
function section(id, short, title, lead, ...children) {
  const node = el("section", { id, "aria-label": title }, el("h2", {}, title), el("p", { class: "lead" }, lead), children);
  sections.push([id, short]);
  return node;
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
// Draws the page from its JSON data. Inserts text from a guest only as text nodes, never as HTML.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const OUTCOMES = {
  p: ["pass", "\u00b7", "the promise is kept"],
  a: ["absent", "\u2013", "the kernel does not offer it, as expected"],
  k: ["known", "k", "fails as a recorded kernel bug says"],
  u: ["unmet", "u", "the machine lacks what it needs"],
  x: ["fixed", "x", "a recorded kernel bug no longer shows"],
  d: ["changed", "D", "user space sees something else, for no known reason"],
  f: ["fail", "F", "the promise is broken"],
  h: ["hang", "H", "it did not end"],
  c: ["crash", "C", "the kernel died in it, or reported a fault"],
};
// The letters of OUTCOMES, worst first.
const WORST = "chfdxukap";
const FAILURES = "chfd";

function element(name, properties, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") node.className = value;
    else if (key === "click") node.addEventListener("click", value);
    else node.setAttribute(key, value);
  }
  for (const child of children) if (child != null) node.append(child);
  return node;
}

const byGroup = new Map();
data.cases.forEach((entry, index) => {
  const group = entry.id.split("/")[0];
  if (!byGroup.has(group)) byGroup.set(group, []);
  byGroup.get(group).push(index);
});

const panel = document.getElementById("details");
let pressedButton = null;
function show(button, title, ...content) {
  if (pressedButton) pressedButton.setAttribute("aria-pressed", "false");
  pressedButton = button;
  button.setAttribute("aria-pressed", "true");
  panel.replaceChildren(
    element("button", { class: "close", "aria-label": "close", click: close }, "\u00d7"),
    element("h3", {}, title), ...content);
  panel.hidden = false;
  panel.scrollTop = 0;
  document.body.classList.add("open");
  button.scrollIntoView({ block: "nearest", inline: "nearest" });
}
function close() {
  panel.hidden = true;
  document.body.classList.remove("open");
  if (pressedButton) { pressedButton.setAttribute("aria-pressed", "false"); pressedButton.focus(); }
  pressedButton = null;
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) close(); });

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) {
    if (!value || value.length === 0) continue;
    const isList = Array.isArray(value);
    list.append(element("dt", {}, name),
      isList ? element("dd", {}, element("pre", {}, value.join("\n"))) : element("dd", {}, value));
  }
  return list;
}

function word(kind, text) { return element("span", { class: "word " + kind }, text); }

function kernelFacts(cell) {
  return facts([
    ["Linux", cell.release], ["architecture", cell.arch], ["flavour", cell.flavour],
    ["source", cell.source], ["stands in", cell.stands_in], ["machine", cell.machine],
    ["guest", cell.guest], ["reason", cell.reason], ["console", cell.console], ["exit code", String(cell.exit_code)],
  ]);
}

function caseFacts(cell, index) {
  const entry = data.cases[index];
  const details = cell.details[index] || {};
  return facts([
    ["promise", entry.promise], ["kernel", entry.kernel_function], ["expected", details.expected],
    ["got", details.got], ["log", details.log], ["console", details.console], ["again", details.rerun],
  ]);
}

function showCase(button, cell, index) {
  const letter = cell.outcomes[index];
  const [name, , meaning] = OUTCOMES[letter];
  show(button, data.cases[index].id + " on " + cell.name,
    element("p", {}, word(name, name), " " + meaning), caseFacts(cell, index));
}

function showGroup(button, cell, group, members) {
  const list = element("ul");
  for (const index of members) {
    const letter = cell.outcomes[index];
    if (letter === "p" || letter === ".") continue;
    const details = cell.details[index] || {};
    list.append(element("li", { class: "wrap" }, word(OUTCOMES[letter][0], OUTCOMES[letter][0]),
      " " + data.cases[index].id + (details.got ? ": " + details.got : "")));
  }
  show(button, group + " on " + cell.name,
    list.childElementCount ? list : element("p", {}, "Every promise is kept."));
}

function caseRow(index) {
  const row = element("tr", {}, element("th", { scope: "row", title: data.cases[index].promise },
    data.cases[index].id.slice(data.cases[index].id.indexOf("/") + 1)));
  for (const cell of data.cells) {
    const letter = cell.outcomes[index] || ".";
    if (letter === ".") { row.append(element("td", { class: "none" })); continue; }
    const [name, sign] = OUTCOMES[letter];
    const button = element("button", {
      class: name, "aria-pressed": "false",
      "aria-label": data.cases[index].id + " on " + cell.name + ": " + name,
      click: () => showCase(button, cell, index),
    }, sign);
    row.append(element("td", {}, button));
  }
  return row;
}

function drawMap() {
  const head = element("tr", {}, element("td"));
  head.replaceChildren(element("th"));
  for (const cell of data.cells) {
    const button = element("button", {
      class: "kernel", "aria-pressed": "false", title: cell.name,
      click: () => show(button, cell.name, element("p", {}, word(cell.judgement, cell.word)), kernelFacts(cell)),
    }, cell.short);
    head.append(element("th", { scope: "col" }, button));
  }
  const table = element("table", {}, element("thead", {}, head));
  for (const [group, members] of byGroup) {
    const cases = element("tbody", { class: "cases" });
    cases.hidden = true;
    const toggle = element("button", { "aria-expanded": "false", click: () => {
      if (!cases.childElementCount) cases.append(...members.map(caseRow));
      cases.hidden = !cases.hidden;
      toggle.setAttribute("aria-expanded", String(!cases.hidden));
    } }, group);
    const row = element("tr", {}, element("th", { scope: "row" }, toggle));
    for (const cell of data.cells) {
      const letters = members.map((index) => cell.outcomes[index] || ".").filter((letter) => letter !== ".");
      if (!letters.length) { row.append(element("td", { class: "none" }, "?")); continue; }
      const worst = [...WORST].find((letter) => letters.includes(letter));
      const kept = letters.filter((letter) => letter === "p").length;
      const text = kept === letters.length ? String(kept) : kept + "/" + letters.length;
      const button = element("button", {
        class: OUTCOMES[worst][0], "aria-pressed": "false",
        "aria-label": group + " on " + cell.name + ": " + text + " kept, worst " + OUTCOMES[worst][0],
        click: () => showGroup(button, cell, group, members),
      }, text);
      row.append(element("td", {}, button));
    }
    table.append(element("tbody", { class: "group" }, row), cases);
    if (data.cells.some((cell) => members.some((index) => FAILURES.includes(cell.outcomes[index] || ".")))) toggle.click();
  }
  document.getElementById("map").append(table);
}

function drawLists() {
  const legend = document.getElementById("legend");
  for (const [name, sign, meaning] of Object.values(OUTCOMES))
    legend.append(element("li", {}, element("b", { class: name }, sign), name + ": " + meaning));
  const kernels = document.getElementById("kernels");
  for (const cell of data.cells) {
    kernels.append(element("li", { class: "wrap", value: String(cell.number) }, cell.name + " ",
      word(cell.judgement, cell.word), cell.reason ? " " + cell.reason : " Linux " + cell.release));
  }
  const differences = document.getElementById("differences");
  for (const difference of data.differences) {
    const list = element("ul");
    for (const change of difference.changes)
      list.append(element("li", { class: "wrap" }, element("b", {}, change.step), ": " + change.cases.join(" ")));
    const count = difference.changes.reduce((sum, change) => sum + change.cases.length, 0);
    const title = difference.title + (count ? ": " + count + (count === 1 ? " case" : " cases") : ": nothing");
    differences.append(count
      ? element("details", { open: "" }, element("summary", {}, title), list)
      : element("p", { class: "faint" }, title));
  }
  if (!data.differences.length)
    differences.append(element("p", { class: "faint" }, "There are no two neighbours that were judged."));
  const failures = document.getElementById("failures");
  for (const cell of data.cells) {
    if (cell.reason) {
      failures.append(element("details", {},
        element("summary", {}, word(cell.judgement, cell.word), " " + cell.name), kernelFacts(cell)));
    }
    [...cell.outcomes].forEach((letter, index) => {
      if (!FAILURES.includes(letter)) return;
      const name = OUTCOMES[letter][0];
      failures.append(element("details", {},
        element("summary", {}, word(name, name), " " + data.cases[index].id + " on " + cell.name),
        caseFacts(cell, index)));
    });
  }
  if (!failures.childElementCount)
    failures.append(element("p", { class: "faint" }, "Nothing failed."));
}

drawMap();
drawLists();

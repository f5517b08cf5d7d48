// What the learner sees and does. The work is done in worker.js.
import { asker } from "./asking.js";
import { at, element } from "./dom.js";
import { SETS } from "./examples.js";
import { MOST_CLASSES, MOST_EXAMPLES, readRows, short } from "./rows.js";
import { showAnswer, showLearned } from "./showing.js";

let trained = null; // { names, texts, classes, typed } of the last training
let loading = null; // the promise of a model
let number = 0; // of the last class, for the ids of its fields

const say = (text) => { at("status").textContent = text; };

const ask = asker((what, done, total) => {
  at("bar").value = done / total;
  if (what === "load" && done === total) say("Starting the model …");
});

// --- the classes -------------------------------------------------------------------------------

const boxes = () => [...at("classes").children];
const typed = () => boxes().map((box) => ({
  name: box.querySelector("input").value,
  text: box.querySelector("textarea").value,
}));

function countLines(box) {
  const lines = box.querySelector("textarea").value.split(/\r\n|\r|\n/u);
  const count = lines.filter((line) => line.trim()).length;
  box.querySelector(".count").textContent = `${count} example${count === 1 ? "" : "s"}`;
}

function removable() {
  const all = boxes();
  for (const [i, box] of all.entries()) {
    box.querySelector("legend").textContent = `Class ${i + 1}`;
    box.querySelector(".remove").hidden = all.length < 3;
    box.querySelector(".remove").setAttribute("aria-label", `Remove class ${i + 1}`);
  }
  at("add").hidden = all.length >= MOST_CLASSES;
}

function changed() {
  if (trained) at("stale").hidden = JSON.stringify(typed()) === trained.typed;
}

function classBox({ name = "", text = "" } = {}) {
  const id = `class-${++number}`;
  const title = element("input", { id: `${id}-name`, type: "text", maxlength: 60, autocomplete: "off" });
  const area = element("textarea", { id: `${id}-text`, rows: 8, "aria-describedby": `${id}-count` });
  const remove = element("button", { type: "button", class: "quiet remove" }, "Remove");
  const box = element("fieldset", {}, element("legend"),
    element("label", { for: title.id }, "Name"), title,
    element("label", { for: area.id }, "Examples, one a line"), area,
    element("div", { class: "row" }, element("span", { class: "count", id: `${id}-count` }), remove));
  title.value = name;
  area.value = text;
  box.addEventListener("input", () => {
    countLines(box);
    changed();
  });
  remove.addEventListener("click", () => {
    box.remove();
    removable();
    changed();
    at("add").focus();
  });
  countLines(box);
  return box;
}

function fill(classes) {
  at("classes").replaceChildren(...classes.map(({ name, lines }) =>
    classBox({ name, text: lines.join("\n") })));
  removable();
  changed();
}

// --- mistakes and remarks ----------------------------------------------------------------------

function showMistakes(mistakes) {
  for (const field of at("classes").querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  at("mistakes").replaceChildren(...mistakes.map(({ say: text }) =>
    element("p", { class: "mistake" }, text)));
  const fields = mistakes.filter(({ part }) => part).map(({ at: i, part }) =>
    boxes()[i].querySelector(part === "name" ? "input" : "textarea"));
  fields.forEach((field) => field.setAttribute("aria-invalid", "true"));
  fields[0]?.focus();
}

const showRemarks = (remarks) => at("remarks").replaceChildren(...remarks.map((text) =>
  element("p", { class: "remark" }, text)));

const longOnes = (texts, cut) => texts.filter((_, i) => cut[i]).map((text) =>
  `“${short(text)}” is too long: its beginning was read, the rest was left out.`);

// --- loading, training, asking -----------------------------------------------------------------

const oops = (what, error) => `${what}: ${error.message}.`;

async function load() {
  at("load").disabled = true;
  at("bar").hidden = false;
  say("Loading the model …");
  try {
    await ask("load");
    at("load").parentElement.hidden = true;
    say("The model is here. You can switch the network off now.");
  } catch (error) {
    loading = null;
    at("load").disabled = false;
    say(`${oops("The model could not be loaded", error)} Try again.`);
    throw error;
  } finally {
    at("bar").hidden = true;
  }
}
const model = () => (loading ??= load());

function show(rows, result, before) {
  trained = { ...rows, typed: before };
  showLearned(rows, result.answers);
  at("learned").hidden = false;
  at("new").hidden = false;
  at("answer").replaceChildren();
  changed();
  at("learned").focus();
}

async function train() {
  const rows = readRows(typed());
  const before = JSON.stringify(typed());
  showMistakes(rows.mistakes);
  showRemarks(rows.remarks);
  if (rows.mistakes.length) return;
  at("train").disabled = true;
  try {
    await model();
    say("Reading the examples and training …");
    const { names, texts, classes } = rows;
    const result = await ask("train", { names, texts, classes });
    const empty = texts.flatMap((text, i) => (result.empty[i] ? [i] : []));
    showRemarks([...rows.remarks, ...longOnes(texts, result.cut)]);
    showMistakes(empty.map((i) => ({ at: classes[i], part: "text",
      say: `“${short(texts[i])}” has nothing that the model can read: delete it.` })));
    if (empty.length) return say("");
    say("Trained.");
    show(rows, result, before);
  } catch (error) {
    if (loading) showMistakes([{ say: oops("That did not work", error) }]);
  } finally {
    at("train").disabled = false;
  }
}

async function decide(event) {
  event.preventDefault();
  const text = at("sentence").value.trim();
  if (!text) {
    at("answer").replaceChildren(element("p", { class: "mistake" }, "Type a sentence first."));
    return at("sentence").focus();
  }
  try {
    showAnswer(trained, await ask("ask", { text }));
  } catch (error) {
    at("answer").replaceChildren(element("p", { class: "mistake" }, oops("That did not work", error)));
  }
}

// The button goes when its work is done; whoever stood on it goes on to the examples.
async function loadFirst() {
  try {
    await model();
  } catch {
    return; // it was told
  }
  if (document.activeElement === document.body) at("examples").focus();
}

at("load").addEventListener("click", loadFirst);
at("films").addEventListener("click", () => fill(SETS.films));
at("mail").addEventListener("click", () => fill(SETS.mail));
at("train").addEventListener("click", train);
at("ask").addEventListener("submit", decide);
at("add").addEventListener("click", () => {
  at("classes").append(classBox());
  removable();
  changed();
  boxes().at(-1).querySelector("input").focus();
});
at("classes").append(classBox(), classBox());
removable();

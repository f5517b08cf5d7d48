// Answers as paragraphs, bars and tables.
import { at, bar, element, strip } from "./dom.js";
import { largest } from "./head.js";
import { certificate, percent } from "./proof.js";

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

function calibration(shares, right) {
  const sure = mean(shares.map((some) => Math.max(...some)));
  return `On average it called itself ${percent(sure)} sure of these answers, and ` +
    `${percent(right / shares.length)} of them were right.`;
}

function answerRow(text, truth, shares, names) {
  const said = largest(shares);
  const right = said === truth;
  const verdict = element("td", { class: right ? "right" : "wrong" },
    `${right ? "✓" : "✗"} ${names[said]}`);
  const sure = element("td", {}, bar(shares[said]), " ", percent(shares[said]));
  verdict.setAttribute("data-shares", JSON.stringify(shares));
  return element("tr", {}, element("th", { scope: "row" }, text),
    element("td", {}, names[truth]), verdict, sure);
}

// What the left-out answers say.
export function showLearned({ names, texts, classes }, answers) {
  const right = answers.filter((shares, i) => largest(shares) === classes[i]).length;
  at("certificate").textContent = certificate(right, texts.length, names.length);
  at("calibration").textContent = calibration(answers, right);
  at("answers").replaceChildren(...texts.map((text, i) =>
    answerRow(text, classes[i], answers[i], names)));
}

function tokenList(pieces) {
  return element("ol", { class: "tokens", "aria-label": "Pieces that the model reads" },
    ...pieces.map((piece) => element("li", {}, piece)));
}

function shareRow(name, share, first) {
  return element("li", { class: first ? "first" : "", "data-share": share },
    element("span", { class: "name" }, name), bar(share, first ? "first" : ""),
    element("span", { class: "number" }, percent(share)));
}

function otherDraws(others, decided, name) {
  const same = others.filter((shares) => largest(shares) === decided).length;
  const shares = others.map((some) => some[decided]);
  const spread = `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`;
  return [
    element("p", { id: "others" }, `${same} of ${others.length} other draws of your examples ` +
      `decide the same. Their probability of “${name}” goes from ${spread}.`),
    strip(shares),
    element("p", { class: "scale", "aria-hidden": "true" }, element("span", {}, "0 %"),
      element("span", {}, "50 %"), element("span", {}, "100 %")),
  ];
}

function explained(pieces, cut) {
  const said = [];
  if (pieces.includes("[UNK]")) said.push("[UNK] is a word that the vocabulary cannot write.");
  if (cut) said.push("The sentence is too long: what comes after these pieces was left out.");
  return said.map((text) => element("p", { class: "remark" }, text));
}

// The decision on a new sentence, and how it came about.
export function showAnswer({ names }, { pieces, cut, shares, others, decided }) {
  const sure = percent(shares[decided]);
  at("answer").replaceChildren(
    element("p", { id: "decision" }, "Decision: ", element("strong", {}, names[decided]),
      `, with probability ${sure}.`),
    element("ul", { class: "shares", "aria-label": "Probabilities" },
      ...names.map((name, i) => shareRow(name, shares[i], i === decided))),
    element("h3", {}, "Had the examples been drawn again"),
    ...otherDraws(others, decided, names[decided]),
    element("h3", {}, "What the model read"),
    tokenList(pieces), ...explained(pieces, cut));
}

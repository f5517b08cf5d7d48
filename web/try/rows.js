// From what was typed to examples, or to sentences that say what is wrong.

export const MOST_EXAMPLES = 16; // of a class
export const MOST_CLASSES = 4;

const squeeze = (text) => text.replace(/\s+/gu, " ").trim();
export const short = (text) => {
  const signs = Array.from(text);
  return signs.length > 40 ? `${signs.slice(0, 39).join("")}…` : text;
};

function ofOneClass({ name, text }, at) {
  const lines = text.split(/\r\n|\r|\n/u).map(squeeze).filter((line) => line !== "");
  return { at, name: squeeze(name), lines: [...new Set(lines)], twice: lines.length };
}

function namesWrong(classes) {
  const mistakes = [];
  const seen = new Map();
  for (const { name, at } of classes) {
    const key = name.toLowerCase();
    if (!name) mistakes.push({ at, part: "name", say: `Class ${at + 1} has no name: type one.` });
    else if (seen.has(key)) {
      const say = `Classes ${seen.get(key) + 1} and ${at + 1} are both called “${short(name)}”: ` +
        "rename one of them.";
      mistakes.push({ at, part: "name", say });
    } else seen.set(key, at);
  }
  return mistakes;
}

function numbersWrong({ at, name, lines }) {
  const who = `“${short(name) || `class ${at + 1}`}”`;
  const wrong = (say) => [{ at, part: "text", say }];
  if (!lines.length) return wrong(`${who} has no example: type some, one a line.`);
  if (lines.length === 1) {
    return wrong(`${who} has one example: type at least two, since one of them is left out.`);
  }
  if (lines.length > MOST_EXAMPLES) {
    return wrong(`${who} has ${lines.length} examples, and this page takes ${MOST_EXAMPLES}: ` +
      `delete ${lines.length - MOST_EXAMPLES}.`);
  }
  return [];
}

function sharedWrong(classes) {
  const home = new Map();
  const mistakes = [];
  for (const { at, name, lines } of classes) {
    for (const line of lines) {
      const first = home.get(line.toLowerCase());
      if (first === undefined) home.set(line.toLowerCase(), name);
      else {
        const say = `“${short(line)}” stands in “${short(first)}” and in “${short(name)}”: ` +
          "delete it in one of them.";
        mistakes.push({ at, part: "text", say });
      }
    }
  }
  return mistakes;
}

function remarks(classes) {
  const said = classes.filter(({ lines, twice }) => twice > lines.length).map(({ name }) =>
    `“${short(name)}” has a sentence more than once; it counts once.`);
  const sizes = classes.map(({ lines }) => lines.length);
  if (Math.min(...sizes) !== Math.max(...sizes)) {
    said.push(`The classes have ${sizes.join(" and ")} examples: the head leans a little to ` +
      "the larger.");
  }
  return said;
}

// { names, texts, classes, mistakes, remarks } of [{ name, text }, …], one example a line.
export function readRows(typed) {
  const classes = typed.map(ofOneClass);
  const mistakes = [...namesWrong(classes), ...classes.flatMap(numbersWrong)];
  if (!mistakes.length) mistakes.push(...sharedWrong(classes));
  return {
    names: classes.map(({ name }) => name),
    texts: classes.flatMap(({ lines }) => lines),
    classes: classes.flatMap(({ lines, at }) => lines.map(() => at)),
    mistakes,
    remarks: mistakes.length ? [] : remarks(classes),
  };
}

// Small helpers around the document. What was typed only ever becomes text, never markup.

export const at = (id) => document.getElementById(id);

// element("p", { class: "lead" }, "text", another): attributes, then children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A bar as long as its share of 1. The number beside it says the same.
export function bar(share, kind = "") {
  const fill = element("span", { class: `fill ${kind}` });
  fill.style.width = `${100 * share}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, fill);
}

// Dots along a line from 0 to 1; half of the line is marked.
export function strip(shares) {
  const line = element("div", { class: "strip", "aria-hidden": "true" });
  shares.forEach((share, i) => {
    const dot = element("span", { class: "dot" });
    dot.style.left = `${100 * share}%`;
    dot.style.top = `${20 + 60 * ((i * 7) % 20) / 19}%`;
    line.append(dot);
  });
  return line;
}

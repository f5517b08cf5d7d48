// One screen on a page without Python: controls, a picture (SVG), a sentence that is spoken.
//
// <div class="screen" data-screen="threshold"></div> becomes a screen. Two files belong to it:
// threshold.json (controls, question and stored numbers, written from the Python functions) and
// threshold.js, which gives data(settings, base), describe(settings, base), draw(paper, data, …).

const SVG = "http://www.w3.org/2000/svg"

// --- numbers as Python writes them --------------------------------------------------------------

// f"{x:.{digits}f}": halves go to the even digit, and minus zero keeps its sign.
export function fixed(x, digits) {
  const exact = Math.abs(x).toFixed(Math.min(100, digits + 60))
  const kept = exact.slice(0, exact.length - 60 - (digits ? 0 : 1))
  const half = /^50*$/.test(exact.slice(-60))
  const up = Math.abs(x).toFixed(digits)
  const even = half && Number(kept.at(-1)) % 2 === 0
  return (x < 0 || Object.is(x, -0) ? "-" : "") + (even ? kept : up)
}

export const percent = (x, digits) => fixed(x * 100, digits) + "%"

export const sum = values => values.reduce((a, b) => a + b, 0)

// --- drawing --------------------------------------------------------------------------------

// An element of a picture. Text is text: nothing in it is ever read as markup.
export function put(parent, kind, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, kind)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  if (text !== null) made.textContent = text
  parent.append(made)
  return made
}

// A scale: numbers from [low, high] to places from [from, to].
export const scale = ([low, high], [from, to]) => x => from + (x - low) / (high - low) * (to - from)

// A frame with an axis below and one on the left; {x: {name, range, ticks}, y: …} says what is on them.
export function axes(paper, [left, top, right, bottom], x, y) {
  const at = { x: scale(x.range, [left, right]), y: scale(y.range, [bottom, top]) }
  put(paper, "path", { d: `M${left} ${top}V${bottom}H${right}`, class: "axis" })
  for (const tick of x.ticks ?? []) {
    put(paper, "text", { x: at.x(tick), y: bottom + 16, class: "tick", "text-anchor": "middle" }, tick)
  }
  for (const tick of y.ticks ?? []) {
    put(paper, "text", { x: left - 6, y: at.y(tick) + 4, class: "tick", "text-anchor": "end" }, tick)
  }
  put(paper, "text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" }, x.name)
  put(paper, "text", { x: left, y: top - 8, class: "tick" }, y.name ?? "")
  return at
}

export function path(paper, points, kind) {
  put(paper, "polyline", { points: points.map(p => p.join(",")).join(" "), class: `line ${kind}` })
}

// --- controls -------------------------------------------------------------------------------

let numbered = 0

function tag(kind, attributes = {}, ...inside) {
  const made = document.createElement(kind)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...inside)
  return made
}

const KINDS = {
  slider(one) {
    const input = tag("input", { type: "range", min: one.min, max: one.max, step: one.step })
    input.value = one.value
    return { input, read: () => Number(input.value), shown: () => input.value }
  },
  steps(one) {
    const input = tag("input", { type: "range", min: 0, max: one.options.length - 1, step: 1 })
    input.value = one.options.indexOf(one.value)
    const read = () => one.options[Number(input.value)]
    return { input, read, shown: () => String(read()) }
  },
  choice(one) {
    const input = tag("select", {}, ...one.options.map(option => tag("option", {}, String(option))))
    input.selectedIndex = one.options.indexOf(one.value)
    return { input, read: () => one.options[input.selectedIndex] }
  },
  switch(one) {
    const input = tag("input", { type: "checkbox" })
    input.checked = one.value
    return { input, read: () => input.checked }
  },
}

function control(one) {
  const made = KINDS[one.kind](one)
  made.input.id = `screen-${++numbered}`
  made.input.name = one.name
  const label = tag("label", { for: made.input.id }, one.label)
  made.output = tag("output", { for: made.input.id })
  made.row = tag("div", { class: "control" }, label, made.input, made.output)
  made.say = () => {
    if (!made.shown) return
    made.output.textContent = made.shown()
    made.input.setAttribute("aria-valuetext", made.shown())
  }
  return made
}

// A question that comes first; `open` is called after any answer.
function question(guess, open) {
  const box = tag("fieldset", { class: "guess" }, tag("legend", {}, "Predict first"))
  const reply = tag("p", { role: "status", "aria-live": "polite", class: "reply" })
  box.append(tag("p", {}, guess.question))
  const name = `screen-${++numbered}`
  for (const [choice, words] of Object.entries(guess.replies)) {
    const input = tag("input", { type: "radio", name, id: `screen-${++numbered}` })
    input.addEventListener("change", () => {
      const verdict = choice === guess.right ? "Right." : `Not quite; it is: ${guess.right}.`
      reply.textContent = `${verdict} ${words}`
      open()
    })
    box.append(tag("div", {}, input, tag("label", { for: input.id }, choice)))
  }
  box.append(reply)
  return box
}

// --- the screen -----------------------------------------------------------------------------

export async function mount(place) {
  const name = place.dataset.screen
  const [{ default: screen }, told] = await Promise.all([
    import(new URL(`./${name}.js`, import.meta.url)),
    fetch(new URL(`./${name}.json`, import.meta.url)).then(answer => answer.json()),
  ])
  const controls = Object.fromEntries(told.controls.map(one => [one.name, control(one)]))
  const words = tag("p", { role: "status", "aria-live": "polite", id: `screen-${++numbered}` })
  const frame = tag("div", { class: "picture" })
  const paper = put(frame, "svg", {
    viewBox: `0 0 ${screen.size.join(" ")}`, role: "img", "aria-describedby": words.id,
    "aria-label": told.title,
  })
  const settings = () => Object.fromEntries(Object.entries(controls).map(([k, c]) => [k, c.read()]))

  function draw() {
    const now = settings()
    const data = screen.data(now, told.base)
    for (const one of Object.values(controls)) one.say()
    paper.replaceChildren()
    screen.draw(paper, data, now, told.base)
    words.textContent = screen.describe(data, now, told.base)
    place.dataset.numbers = JSON.stringify(data)
    place.dataset.settings = JSON.stringify(now)
  }

  const rows = Object.values(controls).map(one => one.row)
  const body = tag("div", { class: "body" }, tag("div", { class: "controls" }, ...rows), frame, words)
  for (const one of Object.values(controls)) one.input.addEventListener("input", draw)
  body.hidden = Boolean(told.guess)
  const guess = told.guess ? [question(told.guess, () => { body.hidden = false })] : []
  place.replaceChildren(...guess, body)
  draw()
}

export const mounted = Promise.all([...document.querySelectorAll(".screen[data-screen]")].map(mount))

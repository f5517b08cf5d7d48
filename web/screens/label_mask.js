import { fixed, percent, put, sum } from "./screen.js"

const SHIFTS = { none: 0, once: 1, twice: 2 }
const COLORS = { prompt: "valid", answer: "train", stop: "certify" }
const WIDE = 84
const TALK = "a date"

function data({ template, mask_prompt, mask_stop, shift }, base) {
  const talk = base[template][TALK]
  const last = talk.tokens.length - 1
  const kinds = talk.answer.map((a, j) => j === last ? "stop" : a ? "answer" : "prompt")
  const counted = talk.answer.map((a, j) =>
    j >= SHIFTS[shift] && (a === 1 || !mask_prompt) && !(mask_stop && j === last))
  const losses = talk.losses[SHIFTS[shift]]
  const parts = { prompt: 0, answer: 0, stop: 0 }
  losses.forEach((loss, j) => { if (counted[j]) parts[kinds[j]] += loss })
  const whole = sum(Object.values(parts))
  const shares = Object.fromEntries(Object.entries(parts).map(([kind, part]) => [kind, part / whole]))
  return {
    tokens: talk.tokens, kinds, counted, losses: losses.map(x => x === null ? null : x / 1000),
    loss: whole / 1000, targets: counted.filter(Boolean).length, shares,
  }
}

function describe(found, { shift }) {
  const moved = shift === "none" ? "not shifted" : `shifted ${shift}`
  const [prompt, answer, stop] = Object.values(found.shares).map(x => percent(x, 0))
  return `${found.targets} of ${found.tokens.length} tokens are targets, ${moved}. Of the loss, ` +
    `${prompt} is the prompt, ${answer} the answer and ${stop} the stop token. A target costs ` +
    `${fixed(found.loss / found.targets, 2)} nats on average.`
}

function draw(paper, found) {
  const most = Math.max(...found.losses.filter(x => x !== null))
  let [line, column] = [0, 0]
  found.tokens.forEach((token, j) => {
    const text = token.replaceAll("\n", "⏎").replaceAll(" ", "·")
    if (column + text.length > WIDE) [line, column] = [line + 1, 0]
    const [x, y, width] = [8 + 8 * column, 16 + 30 * line, 8 * text.length]
    const kind = found.counted[j] ? COLORS[found.kinds[j]] : "baseline"
    const opacity = found.counted[j] ? .2 + .6 * found.losses[j] / most : .12
    put(paper, "rect", { x, y, width, height: 24, rx: 2, class: `fill ${kind}`, opacity })
    put(paper, "text", { x: x + width / 2, y: y + 16, class: "mono", "text-anchor": "middle",
      textLength: width - 3, lengthAdjust: "spacingAndGlyphs",
      opacity: found.counted[j] ? 1 : .75 }, text)
    column += text.length + .6
  })
  let at = 8
  for (const [kind, share] of Object.entries(found.shares)) {
    const width = 684 * share
    put(paper, "rect", { x: at, y: 236, width, height: 30, class: `fill ${COLORS[kind]}`, opacity: .5 })
    if (share > .08) {
      const name = `${kind} ${percent(share, 0)}`
      put(paper, "text", { x: at + width / 2, y: 256, "text-anchor": "middle" }, name)
    }
    at += width
  }
  const each = fixed(found.loss / found.targets, 2)
  put(paper, "text", { x: 350, y: 226, "text-anchor": "middle" }, `${each} nats a target`)
}

export default { data, describe, draw, size: [700, 275] }

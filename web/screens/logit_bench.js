import { fixed, put, scale, sum } from "./screen.js"

const CLASSES = ["good", "mixed", "bad"]

function softmax(z) {
  const top = Math.max(...z)
  const e = z.map(x => Math.exp(x - top))
  const whole = sum(e)
  return e.map(x => x / whole)
}

function data({ good, mixed, bad, right, softmax_first }) {
  const p = softmax([good, mixed, bad])
  const y = CLASSES.indexOf(right)
  const seen = softmax_first ? softmax(p) : p
  const push = seen.map((q, k) => q - (k === y))
  const mean = sum(p.map((x, k) => x * push[k]))
  const gradient = softmax_first ? p.map((x, k) => x * (push[k] - mean)) : push
  const least = softmax_first ? Math.log(1 + 2 / Math.E) : 0
  return { p, seen, gradient, loss: -Math.log(seen[y]), least }
}

function describe(found, { right, softmax_first }) {
  const y = CLASSES.indexOf(right)
  const p = fixed(found.p[y], 2)
  const loss = fixed(found.loss, 2)
  const push = fixed(Math.abs(found.gradient[y]), 2)
  if (!softmax_first) {
    return `The network gives the right class, ${right}, a probability of ${p}. ` +
      `The loss is ${loss}, and pushes its logit up by ${push}.`
  }
  return `Softmax comes first. The network gives the right class, ${right}, a probability of ${p}, ` +
    `but the loss sees ${fixed(found.seen[y], 2)}. It is ${loss} and can never fall below ` +
    `${fixed(found.least, 2)}; it pushes the right logit up by ${push} instead of ` +
    `${fixed(1 - found.p[y], 2)}.`
}

function bars(paper, heights, left, range, kind, title, bold) {
  const at = scale(range, [240, 30])
  put(paper, "text", { x: left + 150, y: 18, "text-anchor": "middle" }, title)
  put(paper, "path", { d: `M${left} ${at(0)}h300`, class: "axis" })
  heights.forEach((h, k) => {
    const x = left + 20 + 100 * k
    const [top, bottom] = [Math.min(at(h), at(0)), Math.max(at(h), at(0))]
    put(paper, "rect", { x, y: top, width: 60, height: bottom - top, class: `fill ${kind}` })
    const y = h < 0 ? bottom + 15 : top - 5
    put(paper, "text", { x: x + 30, y, "text-anchor": "middle" }, fixed(h, 2))
    const name = { x: x + 30, y: 272, "text-anchor": "middle", class: k === bold ? "bold" : "" }
    put(paper, "text", name, CLASSES[k])
  })
  return at
}

function draw(paper, found, { right, softmax_first }) {
  const bold = CLASSES.indexOf(right)
  const how = softmax_first ? "softmax first" : "logits as they are"
  const at = bars(paper, found.seen, 10, [0, 1.1], "train", `the loss sees (${how})`, bold)
  const title = `gradient; loss ${fixed(found.loss, 2)}, at least ${fixed(found.least, 2)}`
  bars(paper, found.gradient, 390, [-1.2, 1.2], "valid", title, bold)
  if (!softmax_first) return
  found.p.forEach((p, k) => put(paper, "path", { d: `M${20 + 100 * k} ${at(p)}h80`, class: "axis" }))
  put(paper, "text", { x: 310, y: 40, "text-anchor": "end" }, "— the network says")
}

export default { data, describe, draw, size: [700, 285] }

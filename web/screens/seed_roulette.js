import { axes, fixed, percent, put, scale, sum } from "./screen.js"

// Sums of all choices of n of the values.
function choices(values, n) {
  if (n === 0) return [0]
  if (values.length < n) return []
  const [first, ...rest] = values
  return [...choices(rest, n - 1).map(s => first + s), ...choices(rest, n)]
}

function interval(differences, t) {
  const n = differences.length
  const total = sum(differences)
  const mean = total / n / 10
  if (n < 2) return [mean, null, null]
  const variance = (n * sum(differences.map(d => d * d)) - total ** 2) / (n * (n - 1))
  const half = t[n] * Math.sqrt(variance / n) / 10
  return [mean, mean - half, mean + half]
}

function data({ a, b, seeds, spin }, base) {
  const [ours, theirs] = [base.runs[a], base.runs[b]]
  const differences = ours.map((x, k) => x - theirs[k])
  const drawn = base.orders[spin].slice(0, seeds)
  const [difference, low, high] = interval(drawn.map(k => differences[k]), base.t)
  const sums = choices(differences, seeds)
  const beats = sum(sums.map(s => s > 0 ? 1 : s === 0 ? .5 : 0)) / sums.length
  return {
    a: ours.map(x => x / 10), b: theirs.map(x => x / 10), drawn, difference, low, high,
    all: sum(differences) / ours.length / 10, beats,
  }
}

const minus = text => text.replaceAll("-", "−")
const signed = x => minus((x >= 0 && !Object.is(x, -0) ? "+" : "") + fixed(x, 1))

function between(low, high) {
  if (low === null) return "one seed has no interval"
  const side = low > 0 ? "is wholly above 0" : high < 0 ? "is wholly below 0" : "holds 0"
  return minus(`interval ${fixed(low, 1)} to ${fixed(high, 1)}, which ${side}`)
}

function describe(found, { a, b, seeds }) {
  return `${a} against ${b}, ${seeds} of ten seeds: ${signed(found.difference)} points ` +
    `(${between(found.low, found.high)}). Over all ten seeds it is ${signed(found.all)}. ` +
    `Of all experiments with ${seeds}, A is ahead in ${percent(found.beats, 0)}.`
}

function draw(paper, found, { a, b, seeds, spin }) {
  put(paper, "text", { x: 225, y: 18, "text-anchor": "middle" }, `${seeds} of ten seeds, spin ${spin}`)
  const at = axes(paper, [120, 30, 350, 190], { name: "% right", range: [43, 73],
    ticks: [45, 50, 55, 60, 65, 70] }, { range: [-.5, 1.5] })
  put(paper, "text", { x: 114, y: at.y(1) + 4, "text-anchor": "end" }, `A: ${a}`)
  put(paper, "text", { x: 114, y: at.y(0) + 4, "text-anchor": "end" }, `B: ${b}`)
  found.a.forEach((x, k) => {
    const drawn = found.drawn.includes(k)
    const kind = drawn ? "train" : "baseline"
    const [from, to] = [at.x(x), at.x(found.b[k])]
    if (drawn) put(paper, "path", { d: `M${from} ${at.y(1)}L${to} ${at.y(0)}`, class: "line train" })
    for (const [cx, y] of [[from, 1], [to, 0]]) {
      put(paper, "circle", { cx, cy: at.y(y), r: 5, class: `fill ${kind}`, opacity: drawn ? 1 : .5 })
    }
  })
  gap(paper, found)
}

function gap(paper, found) {
  const beats = percent(found.beats, 0)
  put(paper, "text", { x: 545, y: 18, "text-anchor": "middle" },
    `A is ahead in ${beats} of all such experiments`)
  const at = scale([-25, 25], [400, 690])
  put(paper, "path", { d: `M${at(0)} 30V190`, class: "zero" })
  put(paper, "path", { d: "M400 190H690", class: "axis" })
  for (const tick of [-20, -10, 0, 10, 20]) {
    put(paper, "text", { x: at(tick), y: 206, class: "tick", "text-anchor": "middle" }, minus(`${tick}`))
  }
  put(paper, "text", { x: 545, y: 226, "text-anchor": "middle" }, "points, A minus B")
  const inside = x => at(Math.max(-25, Math.min(25, x)))
  if (found.low !== null) {
    const d = `M${inside(found.low)} 145H${inside(found.high)}`
    put(paper, "path", { d, class: "stroke train", "stroke-width": 8, opacity: .4 })
  }
  for (const [x, y, kind, name] of [
    [found.all, 85, "baseline", "all ten"], [found.difference, 145, "train", "these"],
  ]) {
    put(paper, "circle", { cx: inside(x), cy: y, r: 6, class: `fill ${kind}` })
    put(paper, "text", { x: inside(x), y: y - 12, class: `fill ${kind}`, "text-anchor": "middle" }, name)
  }
}

export default { data, describe, draw, size: [700, 240] }

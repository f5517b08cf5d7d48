import { axes, fixed, path, percent, put, sum } from "./screen.js"

const ROWS = 600
const CLAIM = 0.10
const DELTA = 0.05
const SHARES = Array.from({ length: 20 }, (_, k) => 5 * (k + 1))
const LOG_FACTORIAL = [0]
for (let k = 1; k <= ROWS; k++) LOG_FACTORIAL.push(LOG_FACTORIAL[k - 1] + Math.log(k))

// The probability of at most so many errors among n rows whose risk is p.
function atMost(errors, n, p) {
  const [yes, no] = [Math.log(p), Math.log1p(-p)]
  let found = 0
  for (let k = 0; k <= errors; k++) {
    const ways = LOG_FACTORIAL[n] - LOG_FACTORIAL[k] - LOG_FACTORIAL[n - k]
    found += Math.exp(ways + k * yes + (n - k) * no)
  }
  return found
}

// The largest risk that is compatible with so few errors (Clopper and Pearson), by halving.
function exactBound(errors, n) {
  if (errors === n) return 1
  let [low, high] = [errors / n, 1]
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2
    if (atMost(errors, n, middle) > DELTA) low = middle
    else high = middle
  }
  return (low + high) / 2
}

const share = (part, whole) => whole ? part / whole : null

function curve(wrong) {
  const [risk, bound] = [[], []]
  let [certified, failed] = [0, false]
  for (const s of SHARES) {
    const m = Math.floor(ROWS * s / 100)
    const errors = sum(wrong.slice(0, m))
    risk.push(errors / m)
    bound.push(exactBound(errors, m))
    failed ||= bound.at(-1) > CLAIM
    if (!failed) certified = s
  }
  return { risk, bound, certified }
}

function data({ threshold, prevalence, answered }, base) {
  const k = Math.floor(ROWS * prevalence / 100)
  const odds = [...base.fresh.slice(0, k), ...base.rotten.slice(0, ROWS - k)].map(x => x / 1000)
  const at = threshold / 100
  const cut = Math.log(at / (1 - at))
  const far = odds.map(x => Math.abs(x - cut))
  const order = odds.map((_, i) => i).sort((a, b) => far[b] - far[a] || a - b)
  const said = odds.map(x => x >= cut)
  const counts = [[0, 0], [0, 0]]
  const silent = [0, 0]
  const m = Math.floor(ROWS * answered / 100)
  order.forEach((i, rank) => {
    const truth = i < k ? 0 : 1
    if (rank < m) counts[truth][said[i] ? 0 : 1]++
    else silent[truth]++
  })
  const [[hit, missed], [wrongly, quiet]] = counts
  return {
    counts, silent, accuracy: (hit + quiet) / m, precision: share(hit, hit + wrongly),
    recall: share(hit, hit + missed), frequent: Math.max(k, ROWS - k) / ROWS,
    ...curve(order.map(i => Number(said[i] !== i < k))),
  }
}

function span(certified) {
  if (certified === 100) return "for all of them"
  return certified ? `while no more than ${certified} % are answered` : "for no share of them"
}

function describe(found, { answered }) {
  const fresh = found.precision === null ? "No row is called fresh."
    : `Of the rows called fresh, ${percent(found.precision, 1)} are.`
  return `${Math.floor(ROWS * answered / 100)} of 600 rows get an answer, ` +
    `${percent(found.accuracy, 1)} of them a right one; always saying the more frequent class is ` +
    `right in ${percent(found.frequent, 1)}. ${fresh} At most one error in ten is certified ` +
    `${span(found.certified)}.`
}

function matrix(paper, found) {
  const names = ["said fresh", "said rotten", "silent"]
  found.counts.forEach((row, i) => [...row, found.silent[i]].forEach((count, j) => {
    const [x, y] = [60 + 92 * j, 30 + 100 * i]
    const strength = .08 + .6 * count / sum([...row, found.silent[i]])
    put(paper, "rect", { x, y, width: 90, height: 98, class: "fill train", opacity: strength })
    put(paper, "text", { x: x + 45, y: y + 54, "text-anchor": "middle" }, count)
    if (i) put(paper, "text", { x: x + 45, y: 246, "text-anchor": "middle" }, names[j])
  }))
  put(paper, "text", { x: 54, y: 84, "text-anchor": "end" }, "fresh")
  put(paper, "text", { x: 54, y: 184, "text-anchor": "end" }, "rotten")
  const [right, frequent] = [found.accuracy, found.frequent].map(x => percent(x, 1))
  put(paper, "text", { x: 195, y: 18, "text-anchor": "middle" },
    `${right} right; most frequent ${frequent}`)
}

function draw(paper, found, { answered }) {
  matrix(paper, found)
  const x = { name: "% answered", range: [0, 100], ticks: [0, 20, 40, 60, 80, 100] }
  const top = Math.max(.5, ...found.bound)
  const ticks = top > .5 ? ["0.0", "0.2", "0.4", "0.6", "0.8"] : ["0.0", "0.1", "0.2", "0.3", "0.4"]
  const y = { name: "errors among them", range: [0, top], ticks: ticks.filter(tick => tick < top) }
  const frame = [420, 34, 690, 230]
  const at = axes(paper, frame, x, y)
  if (found.certified) {
    put(paper, "rect", { x: 420, y: 34, width: at.x(found.certified) - 420, height: 196,
      class: "fill certify", opacity: .18 })
    put(paper, "text", { x: 426, y: 52, class: "fill certify" }, "certified")
  }
  put(paper, "path", { d: `M420 ${at.y(CLAIM)}H690`, class: "zero" })
  const points = values => values.map((v, k) => [at.x(SHARES[k]), at.y(v)])
  path(paper, points(found.risk), "certify")
  path(paper, points(found.bound), "certify dashed")
  const last = name => at.y(found[name].at(-1))
  put(paper, "text", { x: 694, y: last("risk") + 12, class: "fill certify tick" }, "risk")
  put(paper, "text", { x: 694, y: last("bound"), class: "fill certify tick" }, "bound")
  const now = found.risk[SHARES.indexOf(answered)]
  put(paper, "circle", { cx: at.x(answered), cy: at.y(now), r: 6, class: "fill valid" })
}

export default { data, describe, draw, size: [735, 270] }

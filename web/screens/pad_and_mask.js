import { axes, fixed, path, put, sum } from "./screen.js"

const READ = {
  first: "the first place is read", last: "the last place is read", mean: "the mean is read",
}

function answers(base, pads, side, mask, read) {
  return base.odds[`${pads} ${side} ${mask ? "on" : "off"}`][read]
}

function moved(before, after) {
  return sum(before.map((x, k) => Math.abs(after[k] - x))) / (1000 * before.length)
}

function data({ pads, side, mask, read }, base) {
  const before = answers(base, 0, "right", true, read)
  const after = answers(base, pads, side, mask, read)
  const right = said => sum(said.map((x, k) => Number((x >= 0) === (base.fresh[k] === 1))))
  return {
    before: before.map(x => x / 1000), after: after.map(x => x / 1000),
    drift: base.pads.map(n => moved(before, answers(base, n, side, mask, read))),
    moved: moved(before, after),
    flipped: sum(before.map((x, k) => Number((x >= 0) !== (after[k] >= 0)))),
    "right before": right(before), "right after": right(after),
  }
}

function describe(found, { pads, side, mask, read }) {
  return `${pads} pads on the ${side}, ${mask ? "masked" : "not masked"}, and ${READ[read]}. ` +
    `The log odds move by ${fixed(found.moved, 2)} on average, and ${found.flipped} of 40 answers ` +
    `flip: ${found["right after"]} are right, without pads ${found["right before"]}.`
}

function draw(paper, found, { pads, side, mask, read }, base) {
  const title = `${found.flipped} of 40 answers flip`
  put(paper, "text", { x: 190, y: 14, "text-anchor": "middle" }, title)
  const five = { range: [-5, 5], ticks: [-4, -2, 0, 2, 4] }
  const at = axes(paper, [50, 36, 330, 246], { ...five, name: "log odds without pads" },
    { ...five, name: "with pads" })
  put(paper, "path", { d: `M50 ${at.y(0)}H330M${at.x(0)} 36V246`, class: "zero", opacity: .5 })
  path(paper, [[50, 246], [330, 36]], "baseline")
  found.before.forEach((x, k) => {
    const flipped = (x >= 0) !== (found.after[k] >= 0)
    const place = { cx: at.x(x), cy: at.y(found.after[k]), r: 4.5 }
    put(paper, "circle", { ...place, class: `fill ${flipped ? "valid" : "train"}` })
  })
  const told = mask ? "masked" : "no mask"
  put(paper, "text", { x: 545, y: 14, "text-anchor": "middle" }, `${pads} pads, ${side}, ${told}, ${read}`)
  const there = axes(paper, [410, 36, 690, 246],
    { name: "pads", range: [0, 64], ticks: [0, 16, 32, 48, 64] },
    { name: "log odds move by", range: [0, 2.6], ticks: ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"] })
  path(paper, found.drift.map((d, k) => [there.x(base.pads[k]), there.y(d)]), "train")
  put(paper, "circle", { cx: there.x(pads), cy: there.y(found.moved), r: 6, class: "fill train" })
}

export default { data, describe, draw, size: [700, 290] }

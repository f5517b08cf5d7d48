// The head: softmax regression with a fixed pull of the weights towards zero, as in
// sft_nb/widgets/page.py, number by number. Vectors are arrays; a head is one weight vector per
// class, whose last entry is the bias.

export const STRENGTH = 0.3; // half of it times the sum of all squared weights is added to the loss
const SMALLEST = 1e-8; // stop when no pull lacks more
const STEPS = 20_000; // at most

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
export const withOne = (x) => [...x, 1];

export function softmax(scores) {
  const top = Math.max(...scores);
  const raised = scores.map((z) => Math.exp(z - top));
  const total = raised.reduce((sum, x) => sum + x, 0);
  return raised.map((x) => x / total);
}

// What each example's pull lacks: its share of 1 that was not said yet, less a little of the pull
// that it has. alike[r][j]: the product of two examples; pulls[r][c].
function missing(alike, classes, pulls, strength) {
  return alike.map((row, r) => {
    const scores = pulls[r].map((_, c) => {
      let score = 0;
      for (let j = 0; j < row.length; j++) score += row[j] * pulls[j][c];
      return score;
    });
    const own = classes[r];
    return softmax(scores).map((p, c) => (c === own ? 1 : 0) - p - strength * pulls[r][c]);
  });
}

// a + factor * b, for tables.
const plus = (a, factor, b) => a.map((row, r) => row.map((x, c) => x + factor * b[r][c]));

// Every example pulls the scores of the classes until nothing is missing. Gradient steps with
// Nesterov's momentum: look a little ahead, and step from there.
function pullsOf(alike, classes, count, strength) {
  const sums = alike.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0));
  const step = 1 / (strength + Math.max(...sums) / 2);
  const slow = Math.sqrt(step * strength);
  let pulls = alike.map(() => Array(count).fill(0));
  let ahead = pulls;
  for (let i = 0; i < STEPS; i++) {
    const lack = missing(alike, classes, ahead, strength);
    if (Math.max(...lack.flat().map(Math.abs)) < SMALLEST) break;
    const next = plus(ahead, step, lack);
    const swing = next.map((row, r) => row.map((x, c) => x - pulls[r][c]));
    ahead = plus(next, (1 - slow) / (1 + slow), swing);
    pulls = next;
  }
  return ahead;
}

// The weights are the examples, times their pulls.
export function fitHead(vectors, classes, count, strength = STRENGTH) {
  const rows = vectors.map(withOne);
  const alike = rows.map((a) => rows.map((b) => dot(a, b)));
  const pulls = pullsOf(alike, classes, count, strength);
  return pulls[0].map((_, c) => rows[0].map((_, d) =>
    rows.reduce((sum, row, r) => sum + row[d] * pulls[r][c], 0)));
}

export function probabilities(head, vector) {
  const row = withOne(vector);
  return softmax(head.map((weights) => dot(weights, row)));
}

export const largest = (shares) => shares.indexOf(Math.max(...shares));

// The positions of each class's examples.
const byClass = (classes, count) => Array.from({ length: count }, (_, c) =>
  classes.flatMap((k, i) => (k === c ? [i] : [])));

// Round i leaves out the i-th example of every class that has one, and a head that has learned
// from the rest answers them. One of each class: the rest stays as balanced as it was.
export function leftOut(vectors, classes, count, strength = STRENGTH) {
  const places = byClass(classes, count);
  const answers = Array(vectors.length);
  for (let i = 0; i < Math.max(...places.map((some) => some.length)); i++) {
    const out = places.flatMap((some) => some.slice(i, i + 1));
    const rest = vectors.map((_, r) => r).filter((r) => !out.includes(r));
    const head = fitHead(rest.map((r) => vectors[r]), rest.map((r) => classes[r]), count, strength);
    for (const r of out) answers[r] = probabilities(head, vectors[r]);
  }
  return answers;
}

// Chance that is the same everywhere: the linear congruential numbers of Numerical Recipes.
function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// Other draws of the same size: from each class, as many as it has, some twice and some never.
export function draws(classes, count, times, seed = 1) {
  const places = byClass(classes, count);
  const next = chance(seed);
  return Array.from({ length: times }, () => places.flatMap((some) =>
    some.map(() => some[Math.floor(next() * some.length)])));
}

// A head for each draw.
export function redrawn(vectors, classes, count, times, strength = STRENGTH) {
  return draws(classes, count, times).map((rows) =>
    fitHead(rows.map((r) => vectors[r]), rows.map((r) => classes[r]), count, strength));
}

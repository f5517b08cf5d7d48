// How little a few decisions prove: the exact bound of Clopper and Pearson (1934).

// How probable is it that at least `right` of n are right, if each is with probability p?
export function atLeast(right, n, p) {
  let total = 0;
  let ways = 1; // n over k
  for (let k = 0; k <= n; k++) {
    if (k >= right) total += ways * p ** k * (1 - p) ** (n - k);
    ways = (ways * (n - k)) / (k + 1);
  }
  return total;
}

// The smallest share of right decisions with which so many would be no surprise.
export function lowerBound(right, n, delta = 0.05) {
  if (right === 0) return 0;
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (atLeast(right, n, middle) < delta) low = middle;
    else high = middle;
  }
  return low;
}

export const percent = (share) => `${Math.round(100 * share)} %`;
const atMost = (share) => `${Math.floor(100 * share + 1e-9)} %`; // a bound is never rounded up

// What the left-out decisions prove, in sentences.
export function certificate(right, n, classes, delta = 0.05) {
  const bound = lowerBound(right, n, delta);
  const guess = 1 / classes;
  const enough = bound > guess
    ? "so something was learned"
    : "so they do not even prove that anything was learned";
  return `${right} of ${n} left-out examples were answered right. With ${percent(1 - delta)} ` +
    `confidence that proves no more than this: at least ${atMost(bound)} of such sentences are ` +
    `answered right. Guessing would be right in ${percent(guess)}, ${enough}. And the bound takes ` +
    `the ${n} answers for independent trials. They share their examples, so it is a little bold.`;
}

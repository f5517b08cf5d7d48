// What takes time happens here, beside the page: loading, reading, training, answering.
import { embed, load, tokens } from "./network.js";
import { fitHead, largest, leftOut, probabilities, redrawn } from "./head.js";

const DRAWS = 20; // other draws of the same examples
let learned = null; // { head, others }

const told = (progress, done, total) => postMessage({ progress, done, total });

async function vectorsOf(texts) {
  const vectors = [];
  for (const text of texts) {
    vectors.push(await embed(text));
    told("read", vectors.length, texts.length);
  }
  return vectors;
}

const actions = {
  load: () => load((done, total) => told("load", done, total)),

  async train({ names, texts, classes }) {
    const read = texts.map((text) => tokens(text));
    const vectors = await vectorsOf(texts);
    const count = names.length;
    const head = fitHead(vectors, classes, count);
    learned = { head, others: redrawn(vectors, classes, count, DRAWS) };
    return {
      answers: leftOut(vectors, classes, count),
      cut: read.map(({ cut }) => cut),
      empty: read.map(({ pieces }) => pieces.length === 2),
    };
  },

  async ask({ text }) {
    const { pieces, cut } = tokens(text);
    const vector = await embed(text);
    const shares = probabilities(learned.head, vector);
    const others = learned.others.map((head) => probabilities(head, vector));
    return { pieces, cut, shares, others, decided: largest(shares) };
  },
};

self.onmessage = async ({ data: { id, action, ...rest } }) => {
  try {
    postMessage({ id, result: await actions[action](rest) });
  } catch (error) {
    postMessage({ id, mistake: String(error?.message ?? error) });
  }
};
postMessage({ ready: true });

// The network: text in, a vector of length 1 out. It runs in ONNX Runtime, on this machine.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { tokenize, vocabularyOf } from "./tokens.js";

let session = null;
let vocabulary = null;
const known = new Map(); // text -> vector

// Fetch a file piece by piece, and say how many bytes have come.
async function fetched(name, bytes, came) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} is not there (${answer.status})`);
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > bytes) throw new Error(`${name} is longer than it should be`);
    whole.set(value, at);
    at += value.length;
    came(value.length);
  }
  if (at < bytes) throw new Error(`only ${at} of ${bytes} bytes of ${name} came`);
  return whole;
}

// Fetch the three large files that parts.json names, and start the network.
export async function load(progress = () => {}) {
  if (session) return;
  const parts = await (await fetch(new URL("parts.json", import.meta.url))).json();
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const came = (bytes) => progress(done += bytes, total);
  const files = new Map();
  for (const { name, bytes } of parts) files.set(name, await fetched(name, bytes, came));
  vocabulary = vocabularyOf(new TextDecoder().decode(files.get("model/vocab.txt")));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = files.get("ort/ort-wasm-simd-threaded.wasm");
  session = await ort.InferenceSession.create(files.get("model/model.onnx"), {
    executionProviders: ["wasm"],
  });
}

export const tokens = (text) => tokenize(text, vocabulary);

const row = (numbers) =>
  new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);

// The mean of the last states of all pieces, at length 1.
function pooled(states, pieces) {
  const width = states.length / pieces;
  const mean = Array(width).fill(0);
  states.forEach((x, i) => { mean[i % width] += x; });
  const length = Math.hypot(...mean);
  return mean.map((x) => x / length);
}

export async function embed(text) {
  if (known.has(text)) return known.get(text);
  const { ids } = tokens(text);
  const { last_hidden_state: states } = await session.run({
    input_ids: row(ids),
    attention_mask: row(ids.map(() => 1)),
    token_type_ids: row(ids.map(() => 0)),
  });
  const vector = pooled(states.data, ids.length);
  known.set(text, vector);
  return vector;
}

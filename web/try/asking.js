// Questions to the worker, and its answers.

// The worker begins as a blob, so that it inherits this page's policy: it too can reach nothing
// but the place that the page came from.
function begin() {
  const file = new URL("worker.js", import.meta.url).href;
  const source = `import ${JSON.stringify(file)};`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  return new Worker(address, { type: "module" });
}

// ask(action, data) -> a promise; progress(what, done, total) is called on the way.
export function asker(progress) {
  const worker = begin();
  const open = new Map();
  let last = 0;
  let ready;
  const started = new Promise((resolve, reject) => {
    ready = resolve;
    worker.onerror = () => reject(new Error("this browser does not run its programs; try a newer"));
  });
  worker.onmessage = ({ data }) => {
    if (data.ready) return ready();
    if (data.progress) return progress(data.progress, data.done, data.total);
    const { resolve, reject } = open.get(data.id);
    open.delete(data.id);
    if (data.mistake === undefined) resolve(data.result);
    else reject(new Error(data.mistake));
  };
  return async (action, rest = {}) => {
    await started;
    const id = ++last;
    const answer = new Promise((resolve, reject) => open.set(id, { resolve, reject }));
    worker.postMessage({ id, action, ...rest });
    return answer;
  };
}

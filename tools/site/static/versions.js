// The versions of the course that lie beside this one: _static/switcher.json names each, and where
// it lies, seen from the front page of this one.
async function offerVersions(form) {
  const select = form.querySelector("select");
  const root = new URL(document.documentElement.dataset.content_root, location.href);
  const answer = await fetch(select.dataset.list);
  for (const { name, version, url } of await answer.json()) {
    const here = version === select.dataset.version;
    const option = new Option(name, new URL(url || "./", root).href, here, here);
    select.append(option);
  }
  select.addEventListener("change", () => location.assign(select.value));
  form.hidden = false;
}

if (location.protocol !== "file:") {
  document.querySelectorAll(".sft-versions").forEach(offerVersions);
}

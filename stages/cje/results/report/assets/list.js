// The prompts found: search, filters, order, pages.

const PAGE = 20;
const SLICE_MS = 12;
const list = byId("list");
const controls = ["group", "labelled", "sort", "direction"];
let index;
let texts;
let tokens;
let haystacks = [];
let read = 0;
let found = [];
let page = 0;
let chosen = null;
let linked = { prompt: null, policy: null, draw: 0 }; // the answer that the address names
let asked = 0;

const group = () => Number(byId("group").value);

function gapOf(place, prompt) {
  const reward = index.calibrated_reward[place][prompt];
  const label = index.oracle_score[place][prompt];
  return known(reward) && known(label) ? reward - label : null;
}

function weightOf(place, prompt) {
  return place ? index.weights[place - 1][prompt] : null;
}

function keyOf(sort, place, prompt) {
  if (sort === "gap") {
    const gap = gapOf(place, prompt);
    return known(gap) ? Math.abs(gap) : null;
  }
  if (sort === "weight") return weightOf(place, prompt);
  return index[sort][place][prompt];
}

function ordered(prompts) {
  const sort = byId("sort").value;
  const up = byId("direction").value === "up" ? 1 : -1;
  if (sort === "order") return prompts;
  const place = group();
  const keys = new Map(prompts.map((prompt) => [prompt, keyOf(sort, place, prompt)]));
  const withKey = prompts.filter((prompt) => known(keys.get(prompt)));
  const without = prompts.filter((prompt) => !known(keys.get(prompt)));
  withKey.sort((a, b) => up * (keys.get(a) - keys.get(b)) || a - b);
  return [...withKey, ...without];
}

function admitted(prompt) {
  const wanted = byId("labelled").value;
  const label = known(index.oracle_score[group()][prompt]);
  return wanted === "all" || label === (wanted === "yes");
}

async function refresh(at = 0) {
  const ticket = ++asked;
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const every = index.excerpts.map((_, prompt) => prompt).filter(admitted);
  let kept = every;
  if (words.length) {
    if (read < index.count) byId("status").textContent = "Reading the answers…";
    kept = [];
    let rest = performance.now() + SLICE_MS;
    for (const prompt of every) {
      while (prompt >= read) {
        await breathe();
        if (ticket !== asked) return;
      }
      if (words.every((word) => haystacks[prompt].includes(word))) kept.push(prompt);
      if (performance.now() > rest) {
        await breathe();
        if (ticket !== asked) return;
        rest = performance.now() + SLICE_MS;
      }
    }
  }
  found = ordered(kept);
  page = Math.min(at, Math.max(0, Math.ceil(found.length / PAGE) - 1));
  const many = counted(found.length, "prompt");
  byId("status").textContent = found.length ? `${many} found` : "No prompt matches.";
  draw();
  writeAddress();
}

function draw() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  const start = page * PAGE;
  list.start = start + 1;
  list.replaceChildren(...found.slice(start, start + PAGE).map(row));
  byId("page").textContent = `Page ${page + 1} of ${pages.toLocaleString("en")}`;
  byId("back").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages;
}

function row(prompt) {
  const place = group();
  const facts = [
    ["judge", fixed(index.judge_raw[place][prompt])],
    ["reward", fixed(index.calibrated_reward[place][prompt])],
    ["label", fixed(index.oracle_score[place][prompt])],
    ["gap", signed(gapOf(place, prompt), 3)],
  ];
  if (place) facts.push(["weight", fixed(weightOf(place, prompt))]);
  const numbers = facts.map(([name, value]) =>
    element("span", { class: "fact" }, element("span", {}, `${name} `), element("b", {}, `${value} `)),
  );
  const button = element(
    "button",
    { type: "button", "data-prompt": prompt, "aria-current": prompt === chosen ? "true" : null },
    element("span", { class: "excerpt", dir: "auto" }, index.excerpts[prompt] || "(empty prompt)"),
    element("span", { class: "numbers" }, ...numbers),
  );
  button.addEventListener("click", () => choose(prompt));
  return element("li", {}, button);
}

async function choose(prompt) {
  linked = { prompt, policy: null, draw: 0 };
  writeAddress();
  await openPrompt(prompt, true);
}

function markChosen() {
  for (const button of list.querySelectorAll("button")) {
    if (Number(button.dataset.prompt) === chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

list.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const buttons = [...list.querySelectorAll("button")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!step || !next) return;
  event.preventDefault();
  next.focus();
});

function turn(step) {
  page += step;
  draw();
  writeAddress();
  list.scrollTop = 0;
  list.querySelector("button")?.focus();
}

let reading = false;

async function readEverything() {
  if (reading) return;
  reading = true;
  for (let chunk = 0; read < index.count; chunk++) {
    for (const one of await texts.get(chunk)) {
      const parts = [one.p, ...one.a.map((answer) => answer.a ?? "")];
      haystacks.push(parts.join("\n").toLowerCase());
    }
    read = haystacks.length;
    await breathe();
  }
}

async function start() {
  if (!byId("index")) return;
  if (!("DecompressionStream" in window)) {
    const words = "This browser is too old to browse the answers; use a newer one.";
    byId("answers").replaceWith(element("p", { class: "notice" }, words));
    return;
  }
  index = await unpack("index");
  index.count = index.excerpts.length;
  texts = new Chunks("texts");
  tokens = new Chunks("tokens");
  byId("group").append(
    option(0, `${index.base}, logged`),
    ...index.policies.map((name, place) => option(place + 1, name)),
  );
  byId("group").addEventListener("change", limitSorts);
  for (const id of controls) byId(id).addEventListener("change", () => refresh());
  byId("search").addEventListener("input", () => refresh());
  byId("search").form.addEventListener("submit", (event) => event.preventDefault());
  byId("back").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("answers").hidden = false;
  const { state, section } = readAddress();
  if (state.get("search")) readEverything();
  await restore();
  byId(section ?? "")?.scrollIntoView();
  document.documentElement.dataset.ready = "yes";
  addEventListener("hashchange", restore);
  readEverything();
}

// The controls, the list and the answer as the address says. A section alone changes none of them.
async function restore(event) {
  const { state, section } = readAddress();
  if (event && section && [...state].length === 1) {
    writeAddress();
    return;
  }
  const at = controlsFromAddress();
  limitSorts();
  const opened = openFromAddress(Boolean(event));
  await refresh(at);
  if (!(await opened) && found.length) await openPrompt(found[0], false);
}

function limitSorts() {
  const weight = byId("sort").querySelector("option[value=weight]");
  weight.disabled = group() === 0;
  if (weight.disabled && weight.selected) byId("sort").value = "order";
}

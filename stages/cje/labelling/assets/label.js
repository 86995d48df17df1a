"use strict";
// An answer at a time. Whatever comes from prompts and answers is only ever put in as text.
const REASONS = [
  "I cannot tell how good it is",
  "It is not my field",
  "The prompt cannot be understood",
  "The answer cannot be read, or is cut off",
];
const SOON = 250; // milliseconds in which a key was meant for the answer before
const key = new URLSearchParams(location.search).get("key") || "";
const get = (id) => document.getElementById(id);
let about = null;
let rater = "";
let task = null;
let since = 0;
let busy = false;

async function ask(path, given) {
  const reply = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Key": key },
    body: JSON.stringify(given),
  });
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
}

// One request at a time: the next answer is shown when the label is on the disk.
async function send(path, given, said) {
  if (busy) return false;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    show(await ask(path, { ...given, rater }));
    get("alert").textContent = "";
    get("status").textContent = said;
    return true;
  } catch (error) {
    const lost = error instanceof TypeError; // fetch: nobody answered
    const words = lost ? "cje label does not answer. Is it still running in the terminal?" : error.message;
    get("alert").textContent = `Not saved: ${words.replace(/[.?]?$/, (end) => end || ".")} Please try again.`;
    return false;
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

function show(state) {
  task = state.task;
  const { done, wanted, left, minutes } = state;
  let counts = `${done} of ${wanted} done`;
  if (minutes !== null && task !== null) counts += minutes < 1 ? ", under a minute left" : `, about ${Math.round(minutes)} min left`;
  get("counts").textContent = counts;
  get("bar").max = Math.max(wanted, 1);
  get("bar").value = done;
  get("who").textContent = rater;
  get("progress").hidden = false;
  get("start").hidden = true;
  get("task").hidden = get("given").hidden = task === null;
  get("end").hidden = task !== null;
  get("undo").disabled = get("undo-end").disabled = !state.undo;
  since = performance.now();
  if (task === null) {
    get("others").textContent = left || done < wanted ? "Other raters still have some." : "All answers of the list are done.";
    get("end-title").focus();
    return;
  }
  get("prompt").textContent = task.prompt;
  get("answer").textContent = task.answer;
  get("answer").hidden = task.answer === "";
  get("empty").hidden = task.answer !== "";
  get("known").hidden = task.reference === null;
  get("known").open = false;
  get("reference").textContent = task.reference || "";
  get("note").value = get("number").value = "";
  scrollTo(0, 0);
  get("prompt-title").focus({ preventScroll: true });
}

function seconds() {
  return (performance.now() - since) / 1000;
}

function label(value) {
  const note = get("note").value;
  send("/mark", { id: task.id, label: value, note, seconds: seconds() }, `Kept ${value}.`);
}

function openSkip() {
  get("reason").value = "";
  get("why").showModal();
}

function skip(reason) {
  if (!reason.trim()) return;
  get("why").close();
  send("/mark", { id: task.id, skip: reason, seconds: seconds() }, "Skipped.");
}

function undo() {
  if (!get("undo").disabled) send("/undo", {}, "Taken back: label it again.");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || busy) return;
  if (get("why").open) {
    const place = Number(event.key) - 1;
    if (event.target.id !== "reason" && REASONS[place]) {
      event.preventDefault();
      skip(REASONS[place]);
    }
    return;
  }
  if (event.target.matches("input")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "u" && !get("progress").hidden) return undo();
  if (task === null || get("task").hidden) return;
  const found = about.buttons.find((button) => button.key === event.key);
  if (found) {
    if (performance.now() - since > SOON) label(found.value);
  } else if (event.key === "s") {
    event.preventDefault();
    openSkip();
  } else if (event.key === "n" || event.key === ".") {
    event.preventDefault();
    get(event.key === "n" ? "note" : "number").focus();
  } else if (event.key === "r") {
    get("rubric").open = !get("rubric").open;
  }
}

function build() {
  for (const place of document.querySelectorAll(".rubric")) place.textContent = about.rubric;
  const [low, high] = about.scale;
  get("legend").textContent = `Your label, from ${low} to ${high}`;
  for (const { value, key: shortcut } of about.buttons) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(String(value));
    button.setAttribute("aria-keyshortcuts", shortcut);
    if (shortcut !== String(value)) {
      const hint = document.createElement("kbd");
      hint.textContent = shortcut;
      button.append(hint);
    }
    button.addEventListener("click", () => label(value));
    get("buttons").append(button);
  }
  REASONS.forEach((reason, place) => {
    const button = document.createElement("button");
    button.type = "button";
    const hint = document.createElement("kbd");
    hint.textContent = String(place + 1);
    button.append(hint, ` ${reason}`);
    button.addEventListener("click", () => skip(reason));
    get("reasons").append(button);
  });
}

function begin(name) {
  rater = name.trim();
  if (!rater) return;
  try {
    localStorage.setItem("rater", rater);
  } catch {
    // a browser that keeps nothing: the name is asked again next time
  }
  send("/state", {}, "");
}

function welcome() {
  let known = null;
  try {
    known = localStorage.getItem("rater");
  } catch {
    // as above
  }
  for (const id of ["task", "given", "end", "progress"]) get(id).hidden = true;
  get("start").hidden = false;
  get("rater").value = known || about.rater;
  get("rater").focus();
}

async function main() {
  try {
    about = await ask("/start", {});
  } catch (error) {
    get("alert").textContent = error.message;
    return;
  }
  build();
  welcome();
  document.addEventListener("keydown", onKey);
  get("start").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(get("rater").value);
  });
  get("given").addEventListener("submit", (event) => event.preventDefault());
  get("number").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (get("number").value.trim()) label(get("number").value.trim());
  });
  get("note").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    get("note").blur();
  });
  get("skip").addEventListener("click", openSkip);
  get("undo").addEventListener("click", undo);
  get("undo-end").addEventListener("click", undo);
  get("who").addEventListener("click", welcome);
  get("back").addEventListener("click", () => get("why").close());
  get("why").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    skip(get("reason").value);
  });
  document.documentElement.dataset.ready = "";
}

main();

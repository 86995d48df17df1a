// The page's state in its address, after the #, so that it survives a reload and can be sent:
// #section&search=words&group=policy&labelled=yes&sort=gap&direction=up&page=2, and of an answer
// #prompt=uid&policy=name&draw=0. A section is a key without a value.

const INPUTS = { search: "", labelled: "all", sort: "order", direction: "down" };

function readAddress() {
  const state = new URLSearchParams(location.hash.slice(1));
  const section = [...state].find(([key, value]) => value === "" && !(key in INPUTS));
  return { state, section: section?.[0] ?? null };
}

function answerAddress(uid, policy, draw) {
  const state = new URLSearchParams({ prompt: uid });
  if (known(policy)) state.set("policy", policy);
  if (draw > 0) state.set("draw", draw);
  return `#${state}`;
}

function writeAddress() {
  const state = new URLSearchParams();
  for (const [id, usual] of Object.entries(INPUTS)) {
    const value = byId(id).value;
    if (value !== usual) state.set(id, value);
  }
  if (group()) state.set("group", index.policies[group() - 1]);
  if (page) state.set("page", page + 1);
  if (linked.prompt !== null) {
    state.set("prompt", index.uids[linked.prompt]);
    if (known(linked.policy)) state.set("policy", linked.policy);
    if (linked.draw > 0) state.set("draw", linked.draw);
  }
  const section = readAddress().section;
  const parts = [section && linked.prompt === null ? encodeURIComponent(section) : "", `${state}`];
  const hash = parts.filter(Boolean).join("&");
  const bare = location.href.split("#")[0];
  if (`#${hash}` !== location.hash) history.replaceState(null, "", hash ? `${bare}#${hash}` : bare);
}

// Puts the controls as the address says; the page of prompts to show, from 0.
function controlsFromAddress() {
  const { state } = readAddress();
  for (const [id, usual] of Object.entries(INPUTS)) {
    const control = byId(id);
    control.value = state.get(id) ?? usual;
    if (control.value === "" && usual !== "") control.value = usual;
  }
  byId("group").value = String(index.policies.indexOf(state.get("group")) + 1);
  return Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1);
}

// Opens the answer that the address names; whether it names one.
async function openFromAddress(move) {
  const { state } = readAddress();
  const uid = state.get("prompt");
  linked = { prompt: null, policy: null, draw: 0 };
  if (!uid) return false;
  const prompt = index.uids.indexOf(uid);
  if (prompt < 0) {
    const words = `The prompt ${uid} is not among the ${counted(index.count, "prompt")} of this page.`;
    byId("detail").replaceChildren(element("p", { class: "notice" }, words));
    byId("detail").scrollIntoView();
    return true;
  }
  linked = { prompt, policy: state.get("policy"), draw: Number(state.get("draw")) || 0 };
  await openPrompt(prompt, false);
  const card = byId("detail").querySelector(".linked");
  (card ?? byId("detail")).scrollIntoView();
  if (move) (card ?? byId("detail")).focus();
  return true;
}

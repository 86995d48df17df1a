// One prompt: its logged answer, and the fresh answers of every policy.

const ENDS = {
  stop: "complete",
  length: "cut at max_tokens",
  refusal: "refused to answer",
};
let compared = null;

function factsOf(answer) {
  const ends = answer.f ? ENDS[answer.f] : null;
  const rows = [
    ["judge score", fixed(answer.j)],
    ["calibrated reward", fixed(answer.r)],
    [answer.c ? "oracle label (check)" : "oracle label", fixed(answer.y)],
  ];
  if (known(answer.n)) rows.push(["tokens", String(answer.n)]);
  if (ends) rows.push(["end", ends]);
  return element(
    "dl",
    { class: "answer-facts" },
    ...rows.map(([name, value]) =>
      element(
        "div",
        { class: name === "end" && answer.f !== "stop" ? "warned" : null },
        element("dt", {}, name),
        element("dd", {}, value),
      ),
    ),
  );
}

function reasonsOf(answer) {
  const rows = [["judge", answer.jw], ["oracle", answer.yw]];
  const given = rows.filter(([, words]) => known(words));
  if (!given.length) return null;
  return element(
    "dl",
    { class: "reasons" },
    ...given.map(([name, words]) =>
      element("div", {}, element("dt", {}, name), element("dd", { dir: "auto" }, words)),
    ),
  );
}

function linkTo(uid, policy, draw, words) {
  const name = `Permanent link to ${words}`;
  return element("a", { class: "permalink", href: answerAddress(uid, policy, draw), "aria-label": name, title: name }, "link");
}

function textOf(answer) {
  if (!known(answer.a)) {
    const why = answer.why ? `: ${answer.why}` : "";
    return element("p", { class: "notice", dir: "auto" }, `No answer${why}.`);
  }
  if (!answer.a) return element("p", { class: "notice" }, "The answer is empty.");
  return scrolling("Answer", answer.a);
}

function scrolling(name, text) {
  return element(
    "div",
    { class: "text", dir: "auto", tabindex: 0, role: "group", "aria-label": name },
    text,
  );
}

function card(uid, policy, answer, several, note) {
  const title = several ? `${policy}, draw ${answer.d + 1}` : policy;
  const here = linked.policy === policy && linked.draw === answer.d && index.uids[linked.prompt] === uid;
  return element(
    "section",
    { class: here ? "card linked" : "card", tabindex: here ? -1 : null },
    element(
      "h5",
      { dir: "auto" },
      title,
      " ",
      linkTo(uid, policy, answer.d, `the answer of ${title}`),
      note ? element("span", { class: "about" }, note) : null,
    ),
    textOf(answer),
    factsOf(answer),
    reasonsOf(answer),
  );
}

function weightsOf(prompt) {
  const cells = index.policies.map((name, place) =>
    element(
      "div",
      {},
      element("dt", { dir: "auto" }, name),
      element("dd", {}, fixed(index.weights[place][prompt])),
    ),
  );
  return element("dl", { class: "answer-facts weights" }, ...cells);
}

function departures(one) {
  if (!index.policies.length) return [];
  const first = one.r.findIndex((ratios) => ratios !== null);
  if (group()) compared = group() - 1;
  const place = compared ?? Math.max(first, 0);
  const select = element(
    "select",
    { id: "compared" },
    ...index.policies.map((name, at) => option(at, name)),
  );
  select.value = String(place);
  let view = tokenView(one, place);
  select.addEventListener("change", () => {
    compared = Number(select.value);
    const next = tokenView(one, compared);
    view.replaceWith(next);
    view = next;
  });
  return [element("label", { class: "compared" }, "Compare with policy ", select), view];
}

async function openPrompt(prompt, move) {
  chosen = prompt;
  markChosen();
  const chunk = index.chunks[prompt];
  const place = prompt - index.chunks.indexOf(chunk);
  const [pages, parts] = await Promise.all([texts.get(chunk), tokens.get(chunk)]);
  if (chosen !== prompt) return;
  const one = pages[place];
  const [logged, ...fresh] = one.a;
  const title = `Prompt ${(prompt + 1).toLocaleString("en")} of ${index.total.toLocaleString("en")}`;
  const several = new Set(fresh.filter((answer) => answer.d > 0).map((answer) => answer.g));
  const cards = fresh.map((answer) => {
    const policy = answer.g ? index.policies[answer.g - 1] : index.base;
    const note = index.refused[answer.g - 1] ? "refused" : null;
    return card(one.u, policy, answer, several.has(answer.g), note);
  });
  byId("detail").replaceChildren(
    element(
      "h3",
      { id: "detail-title" },
      title,
      " ",
      linkTo(one.u, null, 0, title),
      element("span", { class: "about" }, one.u),
    ),
    one.p ? scrolling("Prompt", one.p) : element("p", { class: "notice" }, "The prompt is empty."),
    element("h4", { dir: "auto" }, `Logged answer of ${index.base}`),
    textOf(logged),
    factsOf(logged),
    reasonsOf(logged) ?? "",
    ...departures(parts[place]),
    element("h4", {}, "Its weight for each policy"),
    weightsOf(prompt),
    element("h4", {}, "Fresh answers"),
    cards.length
      ? element("div", { class: "cards" }, ...cards)
      : element("p", { class: "notice" }, "There are none for this prompt."),
  );
  if (move) byId("detail").focus();
}

start();

// The logged answer token by token: where a policy differs from the base.

const LEVELS = [0.1, 0.5, 1.5, 4]; // nats

function level(ratio) {
  if (ratio === "x") return "outside";
  const step = LEVELS.filter((limit) => Math.abs(ratio) / 100 >= limit).length;
  if (!step) return "even";
  return `${ratio > 0 ? "up" : "down"}-${step}`;
}

function visible(token) {
  return token.replaceAll("\n", "↵\n").replaceAll("\t", "⇥") || "∅";
}

function spoken(token, ratio, base, place, policy) {
  const name = `“${token.trim() || visible(token)}”`;
  if (ratio === "x") return `${place}. ${name}: impossible under ${policy}`;
  const words = `${place}. ${name}: ${signed(ratio / 100)} nats, ${times(ratio / 100)} under the base`;
  return `${words}; log-probability ${fixed(base / 100, 2)} to ${fixed((base + ratio) / 100, 2)}`;
}

function legend(policy) {
  const limits = [...LEVELS].reverse();
  const steps = [
    ...limits.map((limit, place) => [`down-${4 - place}`, `−${limit}`]),
    ["even", "0"],
    ...LEVELS.map((limit, place) => [`up-${place + 1}`, `+${limit}`]),
    ["outside", "outside"],
  ];
  const marks = steps.map(([name, words]) => element("span", { class: `token ${name}` }, words));
  return element(
    "p",
    { class: "legend" },
    element("span", { dir: "auto" }, `Log-ratio in nats at which a shade begins; 0.7 is twice as likely. Less likely under ${policy}: `),
    ...marks.slice(0, 4),
    " equal: ",
    marks[4],
    ", more likely: ",
    ...marks.slice(5, 9),
    ", impossible under it: ",
    marks[9],
  );
}

function sumOf(ratios) {
  return ratios.reduce((sum, ratio) => (ratio === "x" ? sum : sum + ratio), 0) / 100;
}

function totalWords(ratios, sum, policy) {
  if (ratios) {
    const outside = ratios.filter((ratio) => ratio === "x").length;
    if (outside) {
      const which = outside === 1 ? "One token is" : `${outside} tokens are`;
      return `${which} impossible under ${policy}, and so is the answer: its exact weight is 0.`;
    }
    sum = sumOf(ratios);
  }
  if (sum === "x") return `The answer is impossible under ${policy}: its exact weight is 0.`;
  return `Sum over the answer: ${signed(sum)} nats; it is ${times(sum)} under the base.`;
}

function tokenView(one, place) {
  const policy = index.policies[place];
  const ratios = one.r[place];
  const view = element("div", { class: "token-view" });
  if (!ratios || !one.t) {
    const sum = one.s[place];
    const words = known(sum)
      ? `Log-probabilities of single tokens are not known. ${totalWords(null, sum, policy)}`
      : `There are no log-probabilities of this answer under ${policy}: where it differs cannot be shown.`;
    view.append(element("p", { class: "notice" }, words));
    return view;
  }
  const readout = element("p", { class: "readout", "aria-hidden": "true" });
  const hint = "Point at a token, or focus the tokens and use the arrow keys.";
  readout.textContent = hint;
  const said = (at) => spoken(one.t[at], ratios[at], one.b[at], at + 1, policy);
  const spans = one.t.map((token, at) =>
    element(
      "span",
      {
        class: `token ${level(ratios[at])}`,
        role: "option",
        tabindex: at ? -1 : 0,
        "aria-label": said(at),
        "aria-selected": "false",
        "data-ratio": ratios[at],
      },
      visible(token),
    ),
  );
  const box = element(
    "div",
    { class: "tokens", role: "listbox", dir: "auto", "aria-label": `Tokens under ${policy}` },
    ...spans,
  );
  let current = 0;
  const show = (at) => {
    spans[current].setAttribute("aria-selected", "false");
    spans[current].tabIndex = -1;
    current = at;
    spans[at].setAttribute("aria-selected", "true");
    spans[at].tabIndex = 0;
    readout.textContent = said(at);
  };
  box.addEventListener("mouseover", (event) => {
    const at = spans.indexOf(event.target);
    if (at >= 0) readout.textContent = said(at);
  });
  box.addEventListener("focusin", (event) => show(spans.indexOf(event.target)));
  box.addEventListener("click", (event) => spans.includes(event.target) && event.target.focus());
  box.addEventListener("keydown", (event) => {
    const last = spans.length - 1;
    const at = {
      ArrowRight: current + 1,
      ArrowDown: current + 1,
      ArrowLeft: current - 1,
      ArrowUp: current - 1,
      Home: 0,
      End: last,
    }[event.key];
    if (at === undefined) return;
    event.preventDefault();
    spans[Math.min(Math.max(at, 0), last)].focus();
  });
  const total = element("p", { class: "total" }, totalWords(ratios, one.s[place], policy));
  view.append(total, spans.length ? box : "", readout, legend(policy));
  return view;
}

// Words for numbers, as in the rest of the page.

const UNKNOWN = "–";

function known(value) {
  return value !== null && value !== undefined;
}

function fixed(value, digits = 3) {
  return known(value) ? value.toFixed(digits).replace("-", "−") : UNKNOWN;
}

function signed(value, digits = 2) {
  const words = fixed(value, digits);
  return value > 0 ? `+${words}` : words;
}

function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

function times(nats) {
  const ratio = Math.exp(Math.abs(nats));
  const size = ratio >= 1e6 ? ratio.toExponential(1) : ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2);
  if (Math.abs(nats) < 0.005) return "as likely as";
  return `${size} times ${nats > 0 ? "likelier" : "less likely"} than`;
}

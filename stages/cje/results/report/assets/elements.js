// Elements with text; untrusted text never becomes markup.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function option(value, words) {
  return element("option", { value }, words);
}

function byId(id) {
  return document.getElementById(id);
}

const breathe = () => new Promise((go) => setTimeout(go));

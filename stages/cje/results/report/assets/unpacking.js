// What the page holds: the index at once, chunks of texts and tokens when they are wanted.

const KEPT_CHUNKS = 12;

async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

class Chunks {
  constructor(kind) {
    this.kind = kind;
    this.kept = new Map();
  }

  get(place) {
    const found = this.kept.get(place) ?? unpack(`${this.kind}-${place}`);
    this.kept.delete(place);
    this.kept.set(place, found);
    if (this.kept.size > KEPT_CHUNKS) this.kept.delete(this.kept.keys().next().value);
    return found;
  }
}

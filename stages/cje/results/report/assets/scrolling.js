// What is wider than the page says so, as long as there is more to see.

function hintAt(box) {
  const rest = box.scrollWidth - box.clientWidth;
  box.classList.toggle("more", rest > 1 && box.scrollLeft < rest - 1);
  const hint = box.previousElementSibling;
  if (hint?.matches(".scroll-hint")) hint.hidden = rest <= 1;
}

const boxes = new ResizeObserver((seen) => seen.forEach(({ target }) => hintAt(target)));
for (const box of document.querySelectorAll(".scroll")) {
  boxes.observe(box);
  box.addEventListener("scroll", () => hintAt(box), { passive: true });
}

// Runs in a page, and returns what is wrong with what it shows now, one line per fault.
const faults = new Set();
const numbers = colour => {
  const found = colour.match(/[\d.]+/g).map(Number);
  return found.length > 3 ? found : [...found, 1];
};
const over = (upper, lower) => upper.map((v, i) => (i < 3 ? v * upper[3] + lower[i] * (1 - upper[3]) : 1));
const luminance = colour => {
  const [r, g, b] = colour.map(v => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const above = element => (element ? [element, ...above(element.parentElement)] : []);
const behind = element =>
  above(element).reduceRight((ground, e) => over(numbers(getComputedStyle(e).backgroundColor), ground), [255, 255, 255, 1]);

// Contrast of text: WCAG 2.2, 1.4.3, AA. Elements that look alike are judged once.
const known = new Map(), alike = new WeakMap(), judged = new Set();
const look = element => {
  if (!element) return 0;
  if (!alike.has(element)) {
    const own = ["class", "id", "style"].map(name => element.getAttribute(name));
    const text = [look(element.parentElement), element.tagName, ...own].join("|");
    if (!known.has(text)) known.set(text, known.size + 1);
    alike.set(element, known.get(text));
  }
  return alike.get(element);
};
const judge = (element, part, words) => {
  const style = getComputedStyle(element, part);
  const colour = numbers(style.color);
  colour[3] *= above(element).reduce((all, e) => all * Number(getComputedStyle(e).opacity), 1);
  const ground = behind(element);
  const [low, high] = [luminance(over(colour, ground)), luminance(ground)].sort((a, b) => a - b);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < least) faults.add(`contrast ${ratio.toFixed(2)}: ${element.tagName} ${words.trim().slice(0, 40)}`);
};
const seen = element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const [words, element] = [texts.currentNode.data, texts.currentNode.parentElement];
  if (!words.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || judged.has(look(element))) continue;
  if (!seen(element)) continue;
  judged.add(look(element));
  judge(element, null, words);
}
for (const input of document.querySelectorAll("input[placeholder]")) {
  if (seen(input)) judge(input, "::placeholder", input.placeholder);
}

// Names: what a screen reader says of links, buttons, fields, folds and pictures.
for (const element of document.querySelectorAll("a[href], button, input:not([type=hidden]), summary, img, [role=button]")) {
  const pictures = [...element.querySelectorAll("img")].map(image => image.alt);
  const labels = [...(element.labels || [])].map(label => label.textContent);
  const ways = [element.ariaLabel, element.alt, element.textContent, element.title, ...labels, ...pictures];
  if (!ways.some(way => (way || "").trim())) faults.add(`no name: ${element.outerHTML.slice(0, 80)}`);
}

// Width: nothing makes the page itself scroll sideways.
const page = document.documentElement;
if (page.scrollWidth > innerWidth) {
  const boxed = e => above(e.parentElement).some(box => box !== document.body && box !== page && getComputedStyle(box).overflowX !== "visible");
  const wide = [...document.body.querySelectorAll("*")].find(e => e.getBoundingClientRect().right > innerWidth + 1 && !boxed(e));
  faults.add(`${page.scrollWidth} px wide, not ${innerWidth}: ${wide ? wide.outerHTML.slice(0, 80) : "?"}`);
}

// Pictures: those that are there have been drawn.
for (const image of document.images) {
  if (!image.complete || !image.naturalWidth) faults.add(`not drawn: ${image.src}`);
}
return [...faults];

// Return what is wrong with the page as it is shown now, one line for each finding.
() => {
  const findings = [];
  const root = document.documentElement;
  const content = document.querySelector("article") ?? document.body;

  const visible = (element) => element.checkVisibility({ visibilityProperty: true });

  const name = (element) => {
    const section = element.closest("[id]");
    const tag = [element.tagName.toLowerCase(), ...element.classList].slice(0, 4).join(".");
    const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
    return `<${tag}> in #${section ? section.id : "?"}: "${text}"`;
  };

  const report = (kind, elements) => {
    for (const element of [...elements].slice(0, 5)) findings.push(`${kind}: ${name(element)}`);
    if (elements.length > 5) findings.push(`${kind}: ${elements.length - 5} more`);
  };

  // Formulas.
  report("formula not rendered", [...document.querySelectorAll(".math")].filter(
    (element) => visible(element) && !element.querySelector("mjx-container")));
  report("error in formula", document.querySelectorAll("mjx-merror, [data-mjx-error]"));

  // Texts, each with the element that contains it.
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data;
    if (text.trim() && !element.closest("script, style, noscript, mjx-container")) {
      if (visible(element)) texts.push([text, element]);
    }
  }
  const prose = texts.filter(([, element]) => !element.closest("pre, code, kbd"));
  const written = (pattern, among) => [
    ...new Set(among.filter(([text]) => pattern.test(text)).map(([, element]) => element))];
  report("raw LaTeX", written(/\\[()[\]]|\\[a-zA-Z]{2,}|\$\$/, prose));
  report("raw reStructuredText", written(/``|:[a-z]+:`|^\.\. [a-z-]+::|`_/, prose));
  report("progress bar or colour codes", written(/\d%\|.*\||\x1b\[/, texts));

  // Width: nothing reaches out of the page or its column, unless its own box scrolls.
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const clips = (element) => ["hidden", "clip"].includes(getComputedStyle(element).overflowX);
  if (root.scrollWidth > root.clientWidth + 1) {
    findings.push(`page of ${root.scrollWidth} px in a window of ${root.clientWidth} px`);
  }
  const end = Math.min(root.clientWidth, content.getBoundingClientRect().right) + 1;
  const wide = [...content.querySelectorAll("*")].filter((element) => {
    if (element.closest("mjx-assistive-mml") || !visible(element)) return false;
    if (element.getBoundingClientRect().right <= end) return false;
    for (let box = element.parentElement; box && box !== content; box = box.parentElement) {
      if (scrolls(box) || (clips(box) && box.getBoundingClientRect().right <= end)) return false;
    }
    return true;
  });
  const around = new Set(); // only the innermost elements are named
  for (const element of wide) {
    for (let box = element.parentElement; box; box = box.parentElement) around.add(box);
  }
  report("reaches out of its column", wide.filter((element) => !around.has(element)));

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  report("broken words in a cell", prose.filter(([text, element]) => {
    const cell = element.closest("td, th");
    if (!cell) return false;
    const { font } = getComputedStyle(element);
    const { paddingLeft, paddingRight } = getComputedStyle(cell);
    const width = cell.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    canvas.font = font;
    return text.split(/[\s\u2010/-]+/).some((word) => canvas.measureText(word).width > width + 4);
  }).map(([, element]) => element));
  const header = document.querySelector(".bd-header");
  if (header && header.clientHeight > 96) {
    findings.push(`header in several lines: ${header.clientHeight} px`);
  }

  // Pictures and fonts.
  report("broken image", [...document.images].filter(
    (image) => image.complete && image.naturalWidth === 0));
  for (const font of document.fonts) {
    if (font.status === "error") findings.push(`font not loaded: ${font.family}`);
  }

  // Contrast of text, by the ratio of WCAG 2: 4.5, for large text 3.
  const cache = new Map();
  const rgba = (color) => {
    if (!cache.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      cache.set(color, [r, g, b, a / 255]);
    }
    return cache.get(color);
  };
  const over = ([r, g, b, a], below) =>
    [r, g, b].map((value, i) => a * value + (1 - a) * below[i]);
  const background = (element) => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, background(element.parentElement));
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => {
      const x = value / 255;
      return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  for (const [, element] of texts) {
    const style = getComputedStyle(element);
    const behind = background(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    const key = `${style.color} on rgb(${behind.map(Math.round)})${large ? ", large" : ""}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const [high, low] = [luminance(over(rgba(style.color), behind)), luminance(behind)].sort(
      (a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) {
      findings.push(`contrast ${ratio.toFixed(1)}, ${key}: ${name(element)}`);
    }
  }
  return findings;
}

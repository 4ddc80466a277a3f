// The answer's text as elements: paragraphs, code, and [1] as a link to its source. No HTML is ever parsed.

const INLINE = /`([^`\n]+)`|\[(\d)\]/g;

export function renderAnswer(element, text, name) {
  const blocks = [];
  text.split("```").forEach((part, index) => {
    if (index % 2) blocks.push(make("pre", part.replace(/^\n|\n$/g, "")));
    else for (const paragraph of part.split(/\n{2,}/)) if (paragraph.trim()) blocks.push(inline(paragraph.trim(), name));
  });
  element.replaceChildren(...blocks);
}

function inline(text, name) {
  const paragraph = document.createElement("p");
  let done = 0;
  for (const match of text.matchAll(INLINE)) {
    paragraph.append(text.slice(done, match.index));
    paragraph.append(match[1] ? make("code", match[1]) : citation(match[2], name));
    done = match.index + match[0].length;
  }
  paragraph.append(text.slice(done));
  return paragraph;
}

function citation(number, name) {
  const link = make("a", `[${number}]`);
  link.href = `#${name}-source-${number}`;
  link.setAttribute("aria-label", `Source ${number}`);
  link.addEventListener("click", () => document.getElementById(`${name}-source-${number}`)?.setAttribute("open", ""));
  return link;
}

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

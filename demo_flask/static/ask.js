// Reads the generator's stream with fetch, since an EventSource cannot POST.

import { renderAnswer } from "/shared/answer.js";

const byId = (id) => document.getElementById(id);

export class Ask {
  constructor() {
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(byId("question").value);
    });
    byId("stop").addEventListener("click", () => this.request?.abort());
  }

  async ask(question) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    byId("stop").disabled = false;
    byId("outcome").textContent = "";
    byId("sources").replaceChildren();
    byId("answer").setAttribute("aria-busy", "true");
    let text = "", tokens = 0, outcome = "The stream ended early.";
    try {
      const response = await fetch("/ask", {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
        body: JSON.stringify({ question }),
        signal: request.signal,
      });
      for await (const { type, data } of frames(response.body)) {
        if (type === "token") {
          text += data.text;
          tokens += 1;
          renderAnswer(byId("answer"), text, "answer");
        } else if (type === "citation") cite(data);
        else if (type === "workflow_completed") outcome = `${tokens} of ${data.tokens} tokens.`;
      }
    } catch (error) {
      outcome = error.name === "AbortError" ? `Stopped after ${tokens} tokens.` : String(error);
    }
    if (this.request !== request) return; // a newer question has the page
    byId("outcome").textContent = outcome;
    byId("answer").setAttribute("aria-busy", "false");
    byId("stop").disabled = true;
  }
}

function cite({ number, title, page }) {
  const item = document.createElement("li");
  item.id = `answer-source-${number}`;
  item.textContent = `[${number}] ${title} – ${page}`;
  byId("sources").append(item);
}

// Frames of a text/event-stream whose data is JSON on one line, as this library writes it.
async function* frames(body) {
  let rest = "";
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s).slice(0, 2)));
      if (fields.data) yield { type: fields.event ?? "message", data: JSON.parse(fields.data) };
    }
  }
}

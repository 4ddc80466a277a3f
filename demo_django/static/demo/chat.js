// The conversation: a form that starts runs, and one article per run.

import { post } from "./request.js";
import { Run } from "./run.js";

export class Chat {
  constructor(client) {
    const form = document.getElementById("ask");
    const question = document.getElementById("question");
    const suggestions = document.getElementById("suggestions");
    const [stop, cut] = ["stop", "cut"].map((id) => document.getElementById(id));
    stop.addEventListener("click", () => {
      stop.disabled = true;
      this.run.stop();
    });
    suggestions.addEventListener("click", (event) => {
      if (!event.target.matches(".chip")) return;
      question.value = event.target.textContent;
      form.requestSubmit();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      const started = await post(form.action, { question: question.value });
      button.disabled = false;
      if (!started) return;
      suggestions.remove();
      const run = (this.run = new Run(question.value, started, client, () => {
        if (this.run === run) stop.disabled = cut.disabled = true;
      }));
      stop.disabled = cut.disabled = false; // for the latest run
      question.value = "";
      question.focus({ preventScroll: true });
    });
  }
}

// One run of the agent: its steps, its answer, its sources, and the evidence that nothing was lost on the way.

import { renderAnswer } from "./answer.js";
import { Chart } from "./chart.js";
import { Ledger } from "./ledger.js";
import { post } from "./request.js";
import { EventStream } from "./stream.js";

let count = 0;

export class Run {
  constructor(question, { events, stop }, client, onEnd) {
    this.onEnd = onEnd;
    this.stop = () => post(stop);
    this.name = `run-${++count}`;
    const article = document.getElementById("run").content.cloneNode(true).firstElementChild;
    this.list = document.getElementById("runs");
    this.list.append(article);
    this.find = (selector) => article.querySelector(selector);
    this.find(".question").textContent = question;
    this.ledger = new Ledger(this.find(".ledger"));
    this.chart = new Chart(this.find(".trace"), [{ color: "--muted", dashed: true }, { color: "--accent" }]);
    this.published = [];
    this.received = [];
    this.text = "";
    this.stream = new EventStream(`${events}?client=${client}`, {
      step_started: ({ message }) => this.step(message),
      tool_executed: ({ message, result }) => this.stepDone(message, result),
      citation: (data) => this.cite(data),
      token: (data) => this.token(data),
      workflow_completed: ({ tokens }) => this.finish(this.ledger.verdict(tokens)),
      workflow_stopped: () => this.finish({ good: true, text: `Stopped after ${this.ledger.received} tokens, in the worker.` }),
      workflow_failed: ({ message }) => this.finish({ good: false, text: message }),
      "stream.gap": ({ reason, missed }) => this.ledger.gap(reason, missed),
      "stream.end": () => this.end(), // the channel is closed: nothing more can come
    }, (state, connections) => this.state(state, connections));
    this.stream.open();
    article.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  state(state, connections) {
    this.ledger.connections(connections);
    if (state === "lost") {
      this.find(".resume").textContent = "Connection lost. The agent goes on; the browser comes back by itself.";
    } else if (connections > 1) {
      this.find(".resume").textContent = `Resumed after token ${this.ledger.last}, id ${this.stream.lastId}`;
    }
  }

  step(message) {
    const item = document.createElement("li");
    item.textContent = message;
    this.find(".steps").append(item);
  }

  stepDone(message, result) {
    const list = document.createElement("span");
    list.className = "result";
    list.textContent = result.join(" · ");
    this.find(".steps > :last-child").append(`: ${message} `, list);
  }

  cite({ number, title, page, excerpt }) {
    const item = document.createElement("li");
    const details = document.createElement("details");
    details.id = `${this.name}-source-${number}`;
    const summary = document.createElement("summary");
    const where = document.createElement("span");
    where.className = "mono";
    where.textContent = page;
    summary.append(`[${number}] ${title} `, where);
    const text = document.createElement("p");
    text.textContent = excerpt;
    details.append(summary, text);
    item.append(details);
    this.find(".citations").append(item);
  }

  token({ index, text, at }) {
    if (!this.ledger.token(index)) return;
    const now = Date.now() / 1000;
    this.begun ??= at;
    this.published.push([at - this.begun, index + 1]);
    this.received.push([Math.max(0, now - this.begun), index + 1]);
    this.text += text;
    this.drawing ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawing = null;
    renderAnswer(this.find(".answer"), this.text, this.name);
    const seconds = Math.max(4, this.received.at(-1)?.[0] ?? 0);
    this.chart.draw([this.published, this.received], { seconds, top: Math.max(20, this.received.length) });
    this.follow();
  }

  // Keeps the end in view, unless the reader has scrolled up.
  follow() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    if (scrollHeight - scrollTop - clientHeight < 160) this.list.scrollTop = scrollHeight;
  }

  finish({ good, text }) {
    this.draw();
    this.find(".answer").setAttribute("aria-busy", "false");
    const verdict = this.find(".verdict");
    verdict.dataset.verdict = good ? "good" : "bad";
    verdict.textContent = text;
    this.follow();
  }

  end() {
    this.stream.close();
    this.onEnd();
  }
}

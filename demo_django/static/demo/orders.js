// Two panes with the same orders, and the proof that they are the same.

const ROWS = 4; // as many as the pane has room for
const KEPT = 500;

export class Orders {
  constructor() {
    this.numbers = { sse: [], ws: [] };
    this.agreement = document.getElementById("agreement");
  }

  add(pane, { number, item, cents, source }) {
    this.numbers[pane] = [...this.numbers[pane], number].slice(-KEPT);
    const row = document.createElement("li");
    row.dataset.number = number;
    row.append(
      cell("item", item),
      cell("price", (cents / 100).toFixed(2)),
      cell("source", source),
      cell("number mono", number),
    );
    this.show(pane, row);
    this.compare();
  }

  gap(pane, { reason, missed }) {
    const row = document.createElement("li");
    row.append(cell("gap", `a gap was told: ${reason}, ${missed ?? "an unknown number"} missed`));
    this.show(pane, row);
  }

  show(pane, row) {
    const list = document.getElementById(`${pane}-orders`);
    list.prepend(row);
    while (list.children.length > ROWS) list.lastElementChild.remove();
  }

  state(pane, state, connections) {
    document.getElementById(`${pane}-light`).dataset.state = state;
    const note = state === "open" ? `connection ${connections}` : "lost, resuming";
    document.getElementById(`${pane}-note`).textContent = note;
  }

  // The panes open a moment apart, so they are compared from the first order that both have.
  compare() {
    let { sse, ws } = this.numbers;
    sse = sse.slice(Math.max(0, sse.indexOf(ws[0])));
    ws = ws.slice(Math.max(0, ws.indexOf(sse[0])));
    const both = Math.min(sse.length, ws.length);
    const same = sse.slice(0, both).every((number, index) => number === ws[index]);
    const verdict = !same ? "bad" : sse.length === ws.length ? "good" : "waiting";
    this.agreement.dataset.verdict = verdict;
    this.agreement.textContent = {
      bad: `The panes differ: ${sse.length} and ${ws.length} orders.`,
      good: `Both hold the same ${both} order${both === 1 ? "" : "s"}, in the same order.`,
      waiting: `SSE has ${sse.length}, WebSocket ${ws.length}: one of them catches up.`,
    }[verdict];
  }
}

function cell(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

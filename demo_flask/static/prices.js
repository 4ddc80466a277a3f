// One row per name: a line of its last prices, and the newest.

import { Chart } from "/shared/chart.js";

const KEPT = 60;

export class Prices {
  constructor() {
    this.rows = new Map();
    this.count = 0;
  }

  add({ name, price }) {
    const row = this.rows.get(name) ?? this.row(name);
    row.prices = [...row.prices, price].slice(-KEPT);
    row.text.textContent = price.toFixed(2);
    const low = Math.min(...row.prices);
    const line = row.prices.map((value, index) => [index, value - low]);
    row.chart.draw([line], { seconds: Math.max(20, line.length - 1), top: Math.max(0.01, ...line.map(([, value]) => value)), bare: true });
    document.getElementById("count").textContent = ++this.count;
  }

  row(name) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = name;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `The last prices of ${name}`);
    const text = document.createElement("span");
    text.className = "price";
    item.append(label, canvas, text);
    document.getElementById("prices").append(item);
    const row = { prices: [], text, chart: new Chart(canvas, [{ color: "--accent" }]) };
    this.rows.set(name, row);
    return row;
  }
}

// The rate plot: one sample each half second, the last minute.

import { Chart } from "./chart.js";

const SECONDS = 60;
const STEP = 0.5;

export class Meter {
  constructor() {
    this.samples = [];
    this.rate = new Chart(document.getElementById("rate-chart"), [{ color: "--accent", filled: true }]);
    this.latency = new Chart(document.getElementById("latency-chart"), [{ color: "--muted" }, { color: "--accent" }]);
  }

  add(sample) {
    this.samples = [...this.samples, sample].slice(-SECONDS / STEP);
    const show = (id, value) => {
      document.getElementById(id).textContent = value;
    };
    show("pid", sample.pid);
    show("rate", Math.round(sample.rate).toLocaleString("en"));
    show("median", milliseconds(sample.median_ms));
    show("p99", milliseconds(sample.p99_ms));
    const series = (name) => {
      const first = SECONDS - this.samples.length * STEP;
      return this.samples.map((each, index) => [first + index * STEP, each[name]]);
    };
    this.rate.draw([series("rate")], { seconds: SECONDS, top: ceiling(this.samples, "rate", 10) });
    this.latency.draw([series("p99_ms"), series("median_ms")], { seconds: SECONDS, top: ceiling(this.samples, "p99_ms", 2), unit: "ms" });
  }
}

// The next of 1, 2, 5, 10 … above everything shown: an axis that seldom jumps.
function ceiling(samples, name, least) {
  const highest = Math.max(least, ...samples.map((sample) => sample[name] ?? 0));
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10].map((step) => step * power).find((value) => value >= highest);
}

function milliseconds(value) {
  return value === null ? "–" : value.toFixed(value < 10 ? 2 : 0);
}

// The page's parts, put together; stream, chart and answer are those of the Django demo.

import { EventStream } from "/shared/stream.js";
import { Ask } from "./ask.js";
import { Job } from "./job.js";
import { Prices } from "./prices.js";

const byId = (id) => document.getElementById(id);
const prices = new Prices();
const job = new Job();
new Ask();

let gaps = 0;
const stream = new EventStream("/events", {
  price: (data) => prices.add(data),
  "job.started": (data) => job.start(data),
  "job.progress": (data) => job.progress(data),
  "job.completed": (data) => job.complete(data),
  "stream.gap": () => {
    byId("gaps").textContent = ++gaps;
  },
}, (state, connections) => {
  byId("light").dataset.state = state;
  byId("status").textContent = state === "open" ? `connection ${connections}` : "lost, the browser reconnects by itself";
});
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", () => stream.open());

byId("start").addEventListener("click", () => {
  fetch("/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }).catch(() => {
    byId("job").textContent = "The server cannot be reached. Is the demo still running?";
  });
});

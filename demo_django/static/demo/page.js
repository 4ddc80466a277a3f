// The page's parts, put together. Nothing here renders HTML from text: everything goes through textContent.

import { post } from "./request.js";
import { Chat } from "./chat.js";
import { Orders } from "./orders.js";
import { Meter } from "./meter.js";
import { EventStream } from "./stream.js";
import { Socket } from "./socket.js";

const client = document.body.dataset.client;
const byId = (id) => document.getElementById(id);

new Chat(client);
const orders = new Orders();
const meter = new Meter();

// One EventSource for orders and meter: browsers open six connections per host over HTTP/1.1, for all tabs together.
const list = byId("sse-orders");
const events = new EventStream(`${list.dataset.url}?client=${client}`, {
  "order.placed": (data) => orders.add("sse", data),
  meter: (data) => meter.add(data),
  "stream.gap": (data) => orders.gap("sse", data),
}, (state, count) => {
  orders.state("sse", state, count);
  byId("light").dataset.state = state;
  byId("status").textContent = state === "open" ? "live" : "lost, reconnecting";
});

const socket = new Socket(`${byId("ws-orders").dataset.url}?channel=orders&client=${client}`, {
  "order.placed": (data) => orders.add("ws", data),
  "stream.gap": (data) => orders.gap("ws", data),
}, (state, count) => orders.state("ws", state, count));

// A page in the back/forward cache would keep its streams open, and the server would notice nothing.
addEventListener("pagehide", () => [events, socket].forEach((each) => each.close()));
addEventListener("pageshow", () => [events, socket].forEach((each) => each.open()));

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-post], [data-cut]");
  if (!button) return;
  if (button.dataset.cut) post(button.dataset.cut, { client });
  else post(button.dataset.post, { rate: button.dataset.rate ?? "" });
});

// As follow.mjs, with another client: "undici" for Node's own EventSource (node --experimental-eventsource), or the path of
// client.js. Arguments: the client, URL, event types to listen for. Its last line tells that it is closed.
import { pathToFileURL } from "node:url";

const [kind, url, ...types] = process.argv.slice(2);
const say = (value) => console.log(JSON.stringify(value));
const known = kind === "undici" ? {} : await import(pathToFileURL(kind));
let source;
let last = "";
let ended = false;

function follow(from) {
  source = kind === "undici" ? new EventSource(from) : new known.EventStream(from, { retrySeconds: 0.2, maxRetrySeconds: 0.5 });
  for (const type of types) {
    source.addEventListener(type, (event) => {
      last = event.lastEventId;
      ended ||= type === "stream.end";
      say({ id: event.lastEventId, event: type, data: event.data });
    });
  }
}

follow(url);
setInterval(() => {
  if (source.readyState !== 2) return;
  // undici closes for good when a body is reset, where browsers come back. A new one has no Last-Event-ID, hence ?after=.
  if (kind === "undici" && !ended) {
    const again = new URL(url);
    if (last) again.searchParams.set("after", last);
    say({ again: again.href });
    follow(again);
    return;
  }
  say({ closed: true });
  process.exit(0);
}, 50);

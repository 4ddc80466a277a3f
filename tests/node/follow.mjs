// Follows a URL with npm eventsource and prints one JSON line per event until stopped; reconnects as the package does.
// Arguments: URL, then the event types to listen for besides "message".
import { EventSource } from "eventsource";

const [url, ...types] = process.argv.slice(2);
const source = new EventSource(url);
const say = (value) => console.log(JSON.stringify(value));
for (const type of new Set(["message", ...types])) {
  source.addEventListener(type, (event) => say({ id: event.lastEventId, event: type, data: event.data }));
}
source.onopen = () => say({ open: true });
source.onerror = (error) => {
  say({ error: String(error.message ?? ""), code: error.code ?? null, closed: source.readyState === EventSource.CLOSED });
  if (source.readyState === EventSource.CLOSED) process.exit(0);
};

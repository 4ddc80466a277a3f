// A native EventSource, which reconnects and resumes by itself. This class only covers the cases in which it gives up:
// an answer that is no stream, and a page that comes back from the back/forward cache.

const REOPEN_MS = 3000;

export class EventStream {
  // handlers: event type -> function (data, id); onState: "open" | "lost", and the number of connections so far
  constructor(url, handlers, onState) {
    this.url = url;
    this.handlers = handlers;
    this.onState = onState;
    this.lastId = "";
    this.connections = 0;
  }

  open() {
    if (this.source) return;
    const after = this.lastId && `${this.url.includes("?") ? "&" : "?"}after=${encodeURIComponent(this.lastId)}`;
    const source = (this.source = new EventSource(this.url + after));
    source.addEventListener("open", () => this.onState("open", ++this.connections));
    source.addEventListener("error", () => {
      this.onState("lost", this.connections);
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        this.source = null;
        setTimeout(() => this.wanted && this.open(), REOPEN_MS);
      }
    });
    for (const type of ["stream.open", "stream.position"]) source.addEventListener(type, (event) => this.keep(event));
    for (const [type, handle] of Object.entries(this.handlers)) {
      source.addEventListener(type, (event) => {
        this.keep(event);
        handle(JSON.parse(event.data), event.lastEventId);
      });
    }
    this.wanted = true;
  }

  keep(event) {
    this.lastId = event.lastEventId || this.lastId;
  }

  close() {
    this.wanted = false;
    this.source?.close();
    this.source = null;
  }
}

// The same over WebSocket: nothing reconnects by itself here, so this class does, after the last id it has seen.

const REOPEN_MS = 2000;

export class Socket {
  constructor(url, handlers, onState) {
    this.url = url;
    this.handlers = handlers;
    this.onState = onState;
    this.lastId = "";
    this.connections = 0;
  }

  open() {
    if (this.socket) return;
    const url = new URL(this.url, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.lastId) url.searchParams.set("after", this.lastId);
    else url.searchParams.set("last", "6");
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => this.onState("open", ++this.connections);
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      this.lastId = event.id || this.lastId;
      this.handlers[event.type]?.(event.data, event.id);
    };
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.onState("lost", this.connections);
      setTimeout(() => this.wanted && this.open(), REOPEN_MS);
    };
    this.wanted = true;
  }

  close() {
    this.wanted = false;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }
}

// EventSource over fetch: headers, POST, reconnects with jitter, gaps and ends told. What it promises: docs/browser.md.

const LONGEST_MS = 2 ** 31 - 1; // beyond it a timer fires at once
const SHORTEST_MS = 100; // `retry: 0` must be no hot loop

/** Parses decoded text in any pieces; HTML standard, 9.2.5 and 9.2.6. The decoder has taken the byte order mark away. */
export function createParser({ onEvent, onId, onRetry, lastEventId = "" }) {
  let rest = "";
  let data = "";
  let type = "";
  let id = lastEventId; // outlives the connection, so events without one keep it
  let skip = false; // the last piece ended with CR, so an LF that comes next belongs to it
  return (text) => {
    if (!text) return;
    if (skip && text[0] === "\n") text = text.slice(1);
    skip = text.endsWith("\r");
    if (!/[\r\n]/.test(text)) {
      rest += text; // a long line in many pieces is not searched again for each
      return;
    }
    const lines = (rest + text).split(/\r\n|\r|\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line) {
        onId?.(id);
        const event = data && { type: type || "message", data: data.slice(0, -1), lastEventId: id };
        data = type = "";
        if (event) onEvent(event);
        continue;
      }
      const colon = line.indexOf(":"); // at 0: a comment, whose field has no name
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
      if (field === "data") data += value + "\n";
      else if (field === "event") type = value;
      else if (field === "id" && !value.includes("\0")) id = value;
      else if (field === "retry" && /^\d+$/.test(value)) onRetry?.(+value);
    }
  };
}

/** What `work` comes to, unless `signal` aborts before: whoever is asked may never answer, and need not heed it. */
function until(signal, work) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    Promise.resolve(work).then(resolve, reject);
  });
}

/** A stream that reconnects and resumes until its end. States: connecting, open, waiting, paused, closed. */
export class EventStream extends EventTarget {
  state = "connecting";
  #options;
  #run; // of the current connection; another one or none: what still arrives is not ours
  #page; // ends our listeners on the page
  #timer;
  #stall;
  #retry; // ms, as the server said last
  #failures = 0; // connections in a row that brought no event
  #ended = false;

  constructor(url, options = {}) {
    super();
    this.url = new URL(url, globalThis.location?.href).href;
    this.lastEventId = options.lastEventId ?? "";
    this.#options = { stallSeconds: 45, retrySeconds: 1, maxRetrySeconds: 30, ...options };
    this.#watch();
    // Not yet: nobody listens before the constructor has returned.
    queueMicrotask(() => this.state === "connecting" && !this.#run && this.#connect());
  }

  /** 0 connecting, 1 open, 2 closed, as EventSource's. */
  get readyState() {
    return { open: 1, closed: 2 }[this.state] ?? 0;
  }

  close() {
    this.#finish("closed");
  }

  /** Connects now and resumes by the last id, from every state. */
  reconnect() {
    if (this.#options.signal?.aborted) return;
    this.#drop();
    this.#failures = 0;
    this.#ended = false;
    this.#watch();
    this.#connect();
  }

  #watch() {
    this.#page?.abort();
    this.#page = new AbortController();
    const on = (name, from, then) =>
      globalThis.addEventListener?.(name, () => from.includes(this.state) && then(), { signal: this.#page.signal });
    // A page in the back/forward cache would hold its stream open, and nobody would read it.
    on("pagehide", ["connecting", "open", "waiting"], () => {
      this.#drop();
      this.#set("paused");
    });
    on("pageshow", ["paused"], () => this.#connect());
    on("online", ["waiting"], () => this.#connect());
    const { signal } = this.#options;
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { signal: this.#page.signal });
  }

  #drop() {
    const run = this.#run;
    this.#run = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#stall);
    run?.abort();
  }

  #finish(reason, detail) {
    if (this.state === "closed") return;
    this.#drop();
    this.#page.abort();
    this.#set("closed", { reason, ...detail });
  }

  #set(state, detail = {}) {
    this.state = state;
    this.#call(() => this.#options.onState?.(state, detail));
  }

  // What a listener throws is reported and costs no event.
  #call(listener) {
    try {
      listener();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #emit(event) {
    this.#call(() => this["on" + event.type]?.(event));
    this.dispatchEvent(event);
  }

  #request(headers, signal) {
    const { method = "GET", body, credentials = "same-origin", resume } = this.#options;
    const url = new URL(this.url);
    headers = new Headers(headers);
    if (!headers.has("Accept")) headers.set("Accept", "text/event-stream");
    if (this.lastEventId && resume === "query") url.searchParams.set("after", this.lastEventId);
    // A header's value is bytes, and the standard sends the id as UTF-8.
    else if (this.lastEventId)
      headers.set("Last-Event-ID", String.fromCharCode(...new TextEncoder().encode(this.lastEventId)));
    return new Request(url, { method, body, credentials, headers, signal, cache: "no-store" });
  }

  async #connect() {
    const { headers, stallSeconds, fetch = globalThis.fetch } = this.#options;
    const run = (this.#run = new AbortController());
    const { signal } = run;
    clearTimeout(this.#timer);
    this.#set("connecting");
    let error, status, retryAfter;
    let refused = false;
    let asked = false;
    const alive = () => {
      clearTimeout(this.#stall);
      const stalled = () => run.abort(new Error(`no byte for ${stallSeconds} s`));
      if (stallSeconds) this.#stall = setTimeout(stalled, Math.min(stallSeconds * 1000, LONGEST_MS));
    };
    try {
      if (this.#run !== run) return; // closed by onState
      alive();
      const sent = typeof headers === "function" ? await until(signal, headers({ signal })) : headers;
      if (this.#run !== run) return;
      alive();
      refused = true; // a request that cannot be made will not be better later
      const request = this.#request(sent, signal);
      refused = false;
      asked = true;
      const answer = Promise.resolve(fetch(request));
      // One that comes too late is let go, as the browser's fetch does by itself.
      answer.then((late) => signal.aborted && late.body?.cancel(), () => {}).catch(() => {});
      const response = await until(signal, answer);
      if (this.#run !== run) return;
      alive();
      status = response.status;
      if (status === 204) return this.#finish("ended", { status });
      if (status !== 200 || !/^text\/event-stream *(;|$)/i.test(response.headers.get("Content-Type"))) {
        refused = status !== 429 && status < 500;
        retryAfter = response.headers.get("Retry-After");
        throw new Error(`expected 200 and text/event-stream, got ${status} ${response.headers.get("Content-Type")}`);
      }
      this.#set("open");
      if (this.#run === run) this.#emit(new Event("open"));
      const parse = createParser({
        lastEventId: this.lastEventId,
        onEvent: (event) => this.#run === run && this.#receive(event, new URL(response.url || this.url).origin),
        onId: (id) => this.#run === run && (this.lastEventId = id),
        onRetry: (ms) => (this.#retry = ms),
      });
      const reader = response.body.getReader();
      signal.addEventListener("abort", () => reader.cancel().catch(() => {})); // so that its read ends, whoever made it
      const decoder = new TextDecoder();
      for (let piece; this.#run === run && !(piece = await reader.read()).done; ) {
        alive();
        parse(decoder.decode(piece.value, { stream: true }));
      }
      signal.throwIfAborted();
    } catch (caught) {
      error = caught;
    }
    if (this.#run !== run) return;
    this.#drop(); // a body that nobody reads is let go
    if (this.#ended) this.#finish("ended", { status });
    else if (refused || (asked && !this.#repeatable(status))) {
      this.#finish("refused", { status, error });
      this.#emit(Object.assign(new Event("error"), { status, error }));
    } else {
      const delay = this.#delay(retryAfter);
      this.#timer = setTimeout(() => this.#connect(), delay);
      this.#set("waiting", { status, error, delay });
      if (this.state !== "closed") this.#emit(Object.assign(new Event("error"), { status, error, delay }));
    }
  }

  // A POST that was answered may have done something; one that can be resumed, or was turned away, is asked again.
  #repeatable(status) {
    const { method = "GET", repeat = /^(get|head)$/i.test(method) } = this.#options;
    return repeat || status === 429 || status === 503 || !["", "stream.open"].includes(this.lastEventId);
  }

  // The server draws `retry:` at random for each client; what comes after it failed, we draw.
  #delay(retryAfter) {
    const { retrySeconds, maxRetrySeconds } = this.#options;
    const base = this.#retry ?? retrySeconds * 1000;
    const failures = this.#failures++;
    let ms = Math.random() * Math.min(maxRetrySeconds * 1000, base * 2 ** failures);
    if (!failures) ms = this.#retry ?? ms;
    if (retryAfter) {
      const after = /^\d+$/.test(retryAfter) ? retryAfter * 1000 : Date.parse(retryAfter) - Date.now();
      if (after > 0) ms = after + Math.random() * base; // not all at the same moment
    }
    return Math.min(Math.max(ms, SHORTEST_MS), LONGEST_MS);
  }

  #receive({ type, data, lastEventId }, origin) {
    if (type === "open" || type === "error") return; // ours; the server reserves them
    const { onEvent, onGap, onEnd } = this.#options;
    if (type !== "stream.close") this.#failures = 0;
    const event = new MessageEvent(type, { data, lastEventId, origin });
    const end = type === "stream.end";
    // Each channel that has ended says so in its part of the id.
    this.#ended = end && (lastEventId === type || lastEventId.split(".").every((part) => part.endsWith("-e")));
    this.#call(() => onEvent?.(event));
    if (type === "stream.gap") this.#call(() => onGap?.(JSON.parse(data), event));
    if (end) this.#call(() => onEnd?.(JSON.parse(data), event));
    if (type === "message") this.#emit(event);
    else this.dispatchEvent(event);
  }
}

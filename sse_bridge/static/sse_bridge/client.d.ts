/** `stream.gap`: events that this reader will not get. Reasons: docs/architecture.md. */
export interface Gap {
  channel: string;
  reason: "trimmed" | "slow" | "epoch" | "diverged" | "expired" | "invalid";
  /** How many, where it can be known. */
  missed: number | null;
}

/** `stream.end`: a channel's stored end, or (channel null) the end of a source. */
export interface End {
  channel: string | null;
  reason: string;
}

/**
 * connecting: a request is on its way; open: events come; waiting: connects again after `delay`;
 * paused: the page is in the back/forward cache; closed: for good, or until `reconnect()`.
 */
export type State = "connecting" | "open" | "waiting" | "paused" | "closed";

export interface StateDetail {
  /** When closed: by `close()` or the signal, at the stored end, or by an answer that no repetition makes better. */
  reason?: "closed" | "ended" | "refused";
  /** Of the HTTP response, if there was one. */
  status?: number;
  error?: unknown;
  /** When waiting: until the next request, in ms. */
  delay?: number;
}

export interface StreamErrorEvent extends Event {
  readonly status?: number;
  readonly error?: unknown;
  /** Until the next request, in ms; absent when there will be none. */
  readonly delay?: number;
}

export interface EventStreamOptions {
  /** Default "GET". Others are repeated only after 429 or 503, or once an id was seen by which to resume; see `repeat`. */
  method?: string;
  /**
   * For every request anew when it is a function, which may fetch a fresh token; if that fails, or does not answer within
   * `stallSeconds`, it is asked again. `signal` aborts when its answer is no longer wanted: pass it on to `fetch`.
   */
  headers?:
    | HeadersInit
    | ((context: { signal: AbortSignal }) => HeadersInit | undefined | Promise<HeadersInit | undefined>);
  /** Sent with every request, so no ReadableStream. */
  body?: Exclude<BodyInit, ReadableStream> | null;
  /** Default "same-origin". */
  credentials?: RequestCredentials;
  /** Closes the stream when it aborts. */
  signal?: AbortSignal;
  /** Resume after this id at the first request. */
  lastEventId?: string;
  /** How the id is sent: "header" (Last-Event-ID, default) or "query" (`?after=`), which spares a CORS preflight. */
  resume?: "header" | "query";
  /** Whether a request may be repeated that was perhaps answered; default: if the method is GET or HEAD. */
  repeat?: boolean;
  /** Without a byte for so long (headers() and the response's head too) it connects again; default 45, three heartbeats; 0: never. */
  stallSeconds?: number;
  /** The first wait is up to this, as long as the server has sent no `retry:`; default 1. */
  retrySeconds?: number;
  /** Waits double up to this; default 30. */
  maxRetrySeconds?: number;
  /** Instead of the global one; the request's `signal` aborts when the response is no longer wanted. */
  fetch?: (request: Request) => Promise<Response>;
  /** Every event of the stream, whatever its type. */
  onEvent?: (event: MessageEvent<string>) => void;
  onGap?: (gap: Gap, event: MessageEvent<string>) => void;
  onEnd?: (end: End, event: MessageEvent<string>) => void;
  onState?: (state: State, detail: StateDetail) => void;
}

/** EventSource over fetch: reconnects and resumes until the stored end. */
export class EventStream extends EventTarget {
  constructor(url: string | URL, options?: EventStreamOptions);
  readonly url: string;
  readonly state: State;
  /** 0 connecting (waiting and paused too), 1 open, 2 closed. */
  readonly readyState: 0 | 1 | 2;
  /** Where the next request resumes. */
  readonly lastEventId: string;
  onopen?: ((event: Event) => void) | null;
  onmessage?: ((event: MessageEvent<string>) => void) | null;
  onerror?: ((event: StreamErrorEvent) => void) | null;
  /** No event comes after it. */
  close(): void;
  /** Connects now and resumes by the last id, from every state. */
  reconnect(): void;
  addEventListener(
    type: "open",
    listener: ((event: Event) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: "error",
    listener: ((event: StreamErrorEvent) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((event: MessageEvent<string>) => void) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export interface ParserOptions {
  onEvent(event: { type: string; data: string; lastEventId: string }): void;
  /** At every end of a frame, before its event: what is the last event id now. */
  onId?(id: string): void;
  /** In ms. */
  onRetry?(ms: number): void;
  lastEventId?: string;
}

/** A function that takes decoded text in any pieces, byte order mark removed (HTML standard, 9.2.5 and 9.2.6). */
export function createParser(options: ParserOptions): (text: string) => void;

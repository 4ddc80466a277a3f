// Parses a byte stream with npm eventsource-parser: stdin is {"chunks": [base64, ...]}, stdout the events and retries as JSON.
import { createParser } from "eventsource-parser";

let text = "";
for await (const part of process.stdin) text += part;
const events = [];
const retries = [];
const parser = createParser({
  onEvent: (event) => events.push({ id: event.id ?? null, event: event.event ?? null, data: event.data }),
  onRetry: (milliseconds) => retries.push(milliseconds),
});
const decoder = new TextDecoder();
for (const chunk of JSON.parse(text).chunks) parser.feed(decoder.decode(Buffer.from(chunk, "base64"), { stream: true }));
console.log(JSON.stringify({ events, retries }));

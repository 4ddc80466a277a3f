// better-sse on node:http; one Redis connection for all readers, and its channels to fan out.
import { createServer } from "node:http";
import { createChannel, createSession } from "better-sse";
import { createClient } from "redis";

const channels = new Map();
const channel = (name) => {
  if (!channels.has(name)) channels.set(name, createChannel());
  return channels.get(name);
};

const client = createClient({ url: process.env.BENCH_REDIS });
client.on("error", (error) => console.error(error));
await client.connect();
await client.pSubscribe("*", (message, name) => channels.get(name)?.broadcast(message));

createServer(async (request, response) => {
  // the message is JSON already; its default would parse and quote it once more for every reader
  const session = await createSession(request, response, { serializer: String });
  channel(request.url.split("/").pop()).register(session);
}).listen(Number(process.env.PORT), "127.0.0.1", 4096);

// Calls functions in Node for a test, as a browser's driver does in a page: POST {"script": body, "arguments": []} to the
// port that is printed first. Names of client.js are globals, as on the test's page. Argument: the path of client.js.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

Object.assign(globalThis, await import(pathToFileURL(process.argv[2])));
const server = createServer(async (request, response) => {
  let text = "";
  for await (const part of request) text += part;
  const { script, arguments: values } = JSON.parse(text);
  try {
    const result = await new Function(script)(...values);
    response.end(JSON.stringify({ result: result ?? null }));
  } catch (error) {
    response.end(JSON.stringify({ error: String(error.stack ?? error) }));
  }
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));

// Responses by the official JavaScript client, unmodified, over the fake backend and over a real one.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { ANSWER, FAKE, MODEL, QUICK, makeClient, raised } from "./support.mjs";

const client = makeClient();
const create = (body) => client.responses.create({ model: MODEL, input: "hi", ...body });
const OWN_TOOL = {
  type: "function",
  name: "get_weather",
  description: "Weather of a city",
  parameters: {
    type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false,
  },
  strict: true,
};
const OURS = {
  type: "mcp", server_label: "mlx-gateway", allowed_tools: ["calculator"], require_approval: "never",
};

test("a response is whole, kept, listed and deleted", async () => {
  const response = await create(QUICK);
  assert.equal(response.output_text.trim(), ANSWER);
  assert.equal(response.status, "completed");
  assert.ok(response.usage.output_tokens > 0);
  const kept = await client.responses.retrieve(response.id);
  assert.equal(kept.output_text, response.output_text);
  const items = [];
  for await (const item of client.responses.inputItems.list(response.id)) items.push(item);
  assert.deepEqual(items.map((item) => item.content[0].text), ["hi"]);
  await client.responses.delete(response.id);
  assert.ok((await raised(() => client.responses.retrieve(response.id))) instanceof OpenAI.NotFoundError);
});

test("a stream is events with numbers in order", async () => {
  const events = [];
  for await (const event of await create({ stream: true, ...QUICK })) events.push(event);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
  assert.equal(events.at(-1).type, "response.completed");
});

test("the stream helper gathers the response", async () => {
  const stream = client.responses.stream({ model: MODEL, input: "hi", ...QUICK });
  let heard = "";
  stream.on("response.output_text.delta", (event) => (heard += event.delta));
  const response = await stream.finalResponse();
  assert.equal(heard.trim(), ANSWER);
  assert.equal(response.output_text.trim(), ANSWER);
});

test("a conversation goes on from what is kept", async () => {
  const first = await create(QUICK);
  const second = await create({ input: "And?", previous_response_id: first.id, ...QUICK });
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  const reference = [{ type: "item_reference", id: first.output.at(-1).id }, { role: "user", content: "And?" }];
  assert.equal((await create({ input: reference, ...QUICK })).output_text.trim(), ANSWER);
  const lost = await raised(() => create({ previous_response_id: "resp_nope" }));
  assert.equal(lost.code, "previous_response_not_found");
});

test("a call of the client's own tool goes to the client and back", async () => {
  const input = FAKE ? "Weather in Paris? #tool" : "Weather in Paris?";
  const first = await create({ input, tools: [OWN_TOOL] });
  const call = first.output.find((item) => item.type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
  const second = await create({
    input: [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }],
    tools: [OWN_TOOL],
    previous_response_id: first.id,
  });
  assert.equal(second.output_text.trim(), FAKE ? "The tool said: sunny" : ANSWER);
});

test("thinking and the gateway's own calls are gathered by the helper", { skip: !FAKE }, async () => {
  const input = '#think=2 #tool #args={"expression":"6*7"}';
  const stream = client.responses.stream({ model: MODEL, input, tools: [OURS] });
  const response = await stream.finalResponse();
  const kinds = response.output.map((item) => item.type);
  assert.deepEqual(kinds, ["mcp_list_tools", "reasoning", "mcp_call", "reasoning", "message"]);
  assert.equal(response.output[1].content[0].text, "t0 t1");
  assert.equal(response.output[2].output, "42");
});

test("structured answers are parsed", { skip: !FAKE }, async () => {
  const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] };
  const response = await client.responses.parse({
    model: MODEL,
    input: '#text={"ok":true}',
    text: { format: { type: "json_schema", name: "verdict", schema, strict: true } },
  });
  assert.deepEqual(response.output_parsed, { ok: true });
});

test("what is wrong is raised as the client's own errors", async () => {
  const unknown = await raised(() => create({ colour: "red" }));
  assert.ok(unknown instanceof OpenAI.BadRequestError);
  assert.deepEqual([unknown.param, unknown.code], ["colour", "unknown_parameter"]);
  assert.ok((await raised(() => create({ model: "no-such-model" }))) instanceof OpenAI.NotFoundError);
});

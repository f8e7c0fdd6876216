// The official JavaScript client, unmodified, over the fake backend and over a real one.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import {
  ANSWER, FAKE, MODEL, QUICK, WEATHER_TOOL, counted, makeClient, raised, recordOf, user,
} from "./support.mjs";

const client = makeClient();
const create = (body, options) =>
  client.chat.completions.create({ model: MODEL, messages: user("hi"), ...body }, options);

async function gathered(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const deltasOf = (chunks) => chunks.flatMap((c) => c.choices.map((choice) => choice.delta));
const textOf = (chunks) => deltasOf(chunks).map((delta) => delta.content ?? "").join("");
const endsOf = (chunks) =>
  chunks.flatMap((c) => c.choices.map((choice) => choice.finish_reason)).filter(Boolean);

test("an answer is a whole completion", async () => {
  const completion = await create(QUICK);
  assert.equal(completion.object, "chat.completion");
  assert.equal(completion.model, MODEL);
  const [choice] = completion.choices;
  assert.equal(choice.message.role, "assistant");
  assert.equal(choice.message.content.trim(), ANSWER);
  assert.equal(choice.finish_reason, "stop");
  const { prompt_tokens, completion_tokens, total_tokens } = completion.usage;
  assert.ok(prompt_tokens > 0 && completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("a stream is chunks that name the role once and end once", async () => {
  const chunks = await gathered(await create({ stream: true, ...QUICK }));
  assert.deepEqual([...new Set(chunks.map((c) => c.object))], ["chat.completion.chunk"]);
  assert.deepEqual([...new Set(chunks.map((c) => c.model))], [MODEL]);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  assert.deepEqual(deltasOf(chunks).map((d) => d.role).filter(Boolean), ["assistant"]);
  assert.equal(textOf(chunks).trim(), ANSWER);
  assert.deepEqual(endsOf(chunks), ["stop"]);
  assert.ok(chunks.every((c) => c.usage == null), "usage was not asked for");
});

test("usage of a stream comes last and alone when it is asked for", async () => {
  const stream = await create({ stream: true, stream_options: { include_usage: true } });
  const chunks = await gathered(stream);
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
  assert.ok(chunks.every((c) => c.usage == null && c.choices.length > 0));
});

test("the stream helper emits deltas and gathers the completion", async () => {
  // This helper throws on a delta that repeats its role.
  const stream = client.chat.completions.stream({
    model: MODEL,
    messages: user("hi"),
    stream_options: { include_usage: true },
    ...QUICK,
  });
  let heard = "";
  stream.on("content", (delta) => (heard += delta));
  const completion = await stream.finalChatCompletion();
  assert.equal(heard.trim(), ANSWER);
  assert.equal(completion.choices[0].message.content.trim(), ANSWER);
  assert.equal(completion.choices[0].message.role, "assistant");
  assert.equal(completion.choices[0].finish_reason, "stop");
  assert.ok((await stream.totalUsage()).completion_tokens > 0);
});

test("the stream helper gathers a tool call", async () => {
  const stream = client.chat.completions.stream({
    model: MODEL,
    messages: user(FAKE ? "Weather in Paris? #tool" : "Weather in Paris?"),
    tools: [WEATHER_TOOL],
  });
  const completion = await stream.finalChatCompletion();
  const [call] = completion.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  assert.equal(completion.choices[0].finish_reason, "tool_calls");
});

test("a call of the client's own tool goes to the client and back", async () => {
  const runner = client.chat.completions.runTools({
    model: MODEL,
    messages: user("Weather in Paris?"),
    tools: [
      {
        type: "function",
        function: { ...WEATHER_TOOL.function, parse: JSON.parse, function: ({ city }) => `21 °C in ${city}` },
      },
    ],
  });
  // The fake calls a tool only when it is told to, so that there the model answers at once.
  const results = [];
  runner.on("functionToolCallResult", (result) => results.push(result));
  assert.equal((await runner.finalContent()).trim(), ANSWER);
  assert.deepEqual(results, FAKE ? [] : ["21 °C in Paris"]);
});

test("thinking is kept apart from the answer", async () => {
  const messages = user(FAKE ? "hi #think" : "hi");
  const { message } = (await create({ messages })).choices[0];
  assert.equal(message.content.trim(), ANSWER);
  assert.ok(message.reasoning_content.trim());
  const deltas = deltasOf(await gathered(await create({ messages, stream: true })));
  const thought = deltas.map((delta) => delta.reasoning_content ?? "").join("");
  assert.equal(thought.trim(), message.reasoning_content.trim());
});

test("an answer that meets its limit says length", async () => {
  for (const limit of ["max_tokens", "max_completion_tokens"]) {
    const completion = await create({ [limit]: 3, ...QUICK });
    assert.equal(completion.choices[0].finish_reason, "length");
    const chunks = await gathered(await create({ [limit]: 3, stream: true, ...QUICK }));
    assert.deepEqual(endsOf(chunks), ["length"]);
  }
});

test("raw responses carry the headers", async () => {
  const { data, response, request_id } = await create({}).withResponse();
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("x-mlx-gateway-profile"), MODEL);
  assert.ok(Number(response.headers.get("openai-processing-ms")) >= 0);
  assert.equal(request_id, response.headers.get("x-request-id"));
  assert.equal(data._request_id, request_id);
  const raw = await create({ stream: true }).asResponse();
  assert.match(raw.headers.get("content-type"), /^text\/event-stream/);
  assert.match(await raw.text(), /data: \[DONE\]\n\n$/);
});

test("models are listed and found by name", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

test("leaving a stream ends the request and records what went through", async () => {
  const messages = user(FAKE ? "hi #chunks=50 #gate-after=3" : "hi #loop");
  const request = create({ messages, stream: true, max_tokens: 2000, ...QUICK });
  const { data: stream, request_id } = await request.withResponse();
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break;
  }
  stream.controller.abort();
  const record = await recordOf(request_id, "cancelled");
  assert.ok(record.completion_tokens > 0);
});

test("a client that loses patience ends its request too", async () => {
  const { client: impatient, sent } = counted({ timeout: 2_000 });
  const messages = user(FAKE ? "hi #chunks=50 #gate-after=3" : "hi #loop");
  const headers = { "x-request-id": "impatient-js-1" };
  const error = await raised(() =>
    impatient.chat.completions.create({ model: MODEL, messages, max_tokens: 4000 }, { headers }),
  );
  assert.ok(error instanceof OpenAI.APIConnectionTimeoutError, `${error}`);
  assert.equal(sent.length, 1);
  await recordOf("impatient-js-1", "cancelled");
});

// The official Anthropic client for JavaScript, unmodified.

import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { test } from "node:test";
import { ANSWER, API_KEY, BASE_URL, FAKE, MODEL, user } from "./support.mjs";

const client = new Anthropic({ baseURL: BASE_URL.replace(/\/v1$/, ""), apiKey: API_KEY, maxRetries: 0 });
const QUICK = { thinking: { type: "disabled" } };
const base = { model: MODEL, max_tokens: 200, messages: user("hi"), ...QUICK };
const textOf = (message) => message.content.filter((b) => b.type === "text").map((b) => b.text).join("");
const TOOL = {
  name: "get_weather",
  description: "Weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

test("a message is whole and counted", async () => {
  const message = await client.messages.create(base);
  assert.equal(textOf(message).trim(), ANSWER);
  assert.equal(message.stop_reason, "end_turn");
  assert.ok(message.usage.output_tokens > 0);
});

test("a stream adds up to the message", async () => {
  const stream = client.messages.stream(base);
  const pieces = [];
  stream.on("text", (text) => pieces.push(text));
  const message = await stream.finalMessage();
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join("").trim(), ANSWER);
  assert.equal(textOf(message).trim(), ANSWER);
});

test("a tool is called", async () => {
  const prompt = FAKE ? "Weather in Paris? #tool=get_weather" : "Weather in Paris?";
  const message = await client.messages.create({
    model: MODEL, max_tokens: 500, messages: user(prompt), tools: [TOOL],
  });
  assert.equal(message.stop_reason, "tool_use");
  assert.equal(message.content.at(-1).name, "get_weather");
});

test("tokens are counted, and errors are the client's own", async () => {
  const counted = await client.messages.countTokens({ model: MODEL, messages: user("hi") });
  assert.ok(counted.input_tokens > 0);
  await assert.rejects(client.messages.create({ ...base, model: "no-such-model" }), Anthropic.NotFoundError);
});

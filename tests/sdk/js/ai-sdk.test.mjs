// The Vercel AI SDK, unmodified: by responses, which it takes by default, and by chat completions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ANSWER, API_KEY, BASE_URL, FAKE, MODEL } from "./support.mjs";

const openai = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY });
const compatible = createOpenAICompatible({ name: "gateway", baseURL: BASE_URL, apiKey: API_KEY });
const ways = {
  responses: openai(MODEL),
  "chat completions": openai.chat(MODEL),
  "chat completions of any server": compatible(MODEL),
};
const weather = tool({
  description: "Weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

for (const [way, model] of Object.entries(ways)) {
  test(`${way}: a text is written, whole and streamed`, { skip: !FAKE }, async () => {
    const whole = await generateText({ model, prompt: "hi", maxRetries: 0 });
    assert.equal(whole.text.trim(), ANSWER);
    assert.ok(whole.usage.outputTokens > 0);
    const { textStream, finishReason } = streamText({ model, prompt: "hi", maxRetries: 0 });
    let heard = "";
    for await (const piece of textStream) heard += piece;
    assert.equal(heard.trim(), ANSWER);
    assert.equal(await finishReason, "stop");
  });

  test(`${way}: the client's tool is run and the answer goes on from it`, { skip: !FAKE }, async () => {
    const prompt = "Weather in Paris? #tool";
    const { text, steps } = await generateText({
      model, prompt, tools: { get_weather: weather }, stopWhen: stepCountIs(3), maxRetries: 0,
    });
    assert.equal(text, "The tool said: sunny in Paris");
    assert.deepEqual(steps[0].toolCalls.map((call) => [call.toolName, call.input]), [
      ["get_weather", { city: "Paris" }],
    ]);
    const streamed = streamText({
      model, prompt, tools: { get_weather: weather }, stopWhen: stepCountIs(3), maxRetries: 0,
    });
    assert.equal(await streamed.text, "The tool said: sunny in Paris");
  });

  test(`${way}: a structured answer is an object`, { skip: !FAKE }, async () => {
    const { output } = await generateText({
      model,
      prompt: '#text={"ok":true}',
      output: Output.object({ schema: z.object({ ok: z.boolean() }) }),
      maxRetries: 0,
    });
    assert.deepEqual(output, { ok: true });
  });
}

test("thinking is told apart", { skip: !FAKE }, async () => {
  for (const model of [ways.responses, ways["chat completions of any server"]]) {
    const options = { openai: { reasoningSummary: "auto", forceReasoning: true } };
    const { reasoningText, text } = await generateText({
      model, prompt: "hi #think=3", providerOptions: options, maxRetries: 0,
    });
    assert.equal(reasoningText, "t0 t1 t2");
    assert.equal(text.trim(), ANSWER);
  }
});

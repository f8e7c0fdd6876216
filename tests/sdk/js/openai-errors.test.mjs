// What goes wrong raises the JavaScript client's own classes, with the documented status and code.
// Only over the fake backend: it goes wrong on demand.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { FAKE, MODEL, counted, makeClient, raised, recordOf, user } from "./support.mjs";

const skip = FAKE ? false : "a real backend does not fail on demand";
const shared = makeClient();
const ask = (client, prompt = "hi", changes = {}) =>
  client.chat.completions.create({ model: MODEL, messages: user(prompt), ...changes });

function assertRaised(error, kind, expected) {
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
  for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value);
}

test("a wrong or missing key is an authentication error", { skip }, async () => {
  for (const changes of [{ apiKey: "wrong" }, { defaultHeaders: { authorization: null } }]) {
    const error = await raised(() => ask(makeClient(changes)));
    assertRaised(error, OpenAI.AuthenticationError, { status: 401, code: "invalid_api_key" });
  }
});

test("an unknown model is not found, never another's answer", { skip }, async () => {
  for (const call of [
    () => ask(shared, "hi", { model: "no-such-model" }),
    () => ask(shared, "hi", { model: "no-such-model", stream: true }),
    () => shared.models.retrieve("no/such/model"),
  ]) {
    const error = await raised(call);
    assertRaised(error, OpenAI.NotFoundError, { status: 404, code: "model_not_found" });
    assert.ok(error.requestID);
  }
});

test("names with slashes and aliases lead to their profile", { skip }, async () => {
  assert.equal((await shared.models.retrieve("org/tiny-model")).id, "org/tiny-model");
  assert.equal((await ask(shared, "hi", { model: "org/tiny-model" })).model, "org/tiny-model");
  for (const model of ["gpt-4o-mini", "claude-anything"]) {
    assert.equal((await ask(shared, "hi", { model })).model, MODEL);
  }
});

test("what cannot be asked is a bad request", { skip }, async () => {
  const media = [{ type: "image_url", image_url: { url: "http://127.0.0.1/secret.png" } }];
  for (const changes of [{ temperature: "hot" }, { messages: "no" }, { messages: user(media) }]) {
    const error = await raised(() => ask(shared, "hi", changes));
    assertRaised(error, OpenAI.BadRequestError, { status: 400, type: "invalid_request_error" });
  }
});

test("a backend at capacity is a rate limit and is tried again", { skip }, async () => {
  const { client, sent } = counted({ maxRetries: 1 });
  const error = await raised(() => ask(client, "#error=429"));
  assertRaised(error, OpenAI.RateLimitError, { status: 429 });
  assert.equal(sent.length, 2);
});

test("a failing backend is an internal server error and is tried again", { skip }, async () => {
  const { client, sent } = counted({ maxRetries: 2 });
  const error = await raised(() => ask(client, "#error=500-empty"));
  assertRaised(error, OpenAI.InternalServerError, { status: 502, code: "backend_error" });
  assert.equal(sent.length, 3);
});

test("a backend that cannot start says why and is not tried again", { skip }, async () => {
  const { client, sent } = counted({ maxRetries: 2 });
  const error = await raised(() => ask(client, "hi", { model: "broken" }));
  assertRaised(error, OpenAI.InternalServerError, { status: 503, code: "backend_failed" });
  assert.match(error.message, /RuntimeError: Handler process/);
  assert.equal(sent.length, 1);
});

test("a backend that never answers is a time-out of the gateway", { skip }, async () => {
  const error = await raised(() => ask(shared, "#hang", { model: "hasty" }));
  assertRaised(error, OpenAI.InternalServerError, { status: 504 });
});

test("time-outs and lost connections of the client are its own classes", { skip }, async () => {
  const late = await raised(() => ask(makeClient({ timeout: 500 }), "#hang"));
  assert.ok(late instanceof OpenAI.APIConnectionTimeoutError, `${late}`);
  const lost = await raised(() => ask(makeClient({ baseURL: "http://127.0.0.1:9/v1" })));
  assert.ok(lost instanceof OpenAI.APIConnectionError, `${lost}`);
});

test("what fails in a stream raises there and is recorded", { skip }, async () => {
  for (const words of ["#stream-error=500 #stream-error-after=2", "#close-after=2", "#hang-after=2"]) {
    const request = ask(shared, `#chunks=5 ${words}`, { model: "hasty", stream: true });
    const { data: stream, request_id } = await request.withResponse();
    let said = "";
    const error = await raised(async () => {
      for await (const chunk of stream) said += chunk.choices[0]?.delta.content ?? "";
    });
    assert.ok(error instanceof OpenAI.APIError, `${error}`);
    assert.equal(said, "w0 w1", "what came before went through");
    await recordOf(request_id, "failed");
  }
});

test("the stream helper raises what fails in the stream", { skip }, async () => {
  const stream = shared.chat.completions.stream({
    model: MODEL,
    messages: user("#chunks=5 #stream-error=500 #stream-error-after=2"),
  });
  const error = await raised(() => stream.finalChatCompletion());
  assert.ok(error instanceof OpenAI.OpenAIError, `${error}`);
});

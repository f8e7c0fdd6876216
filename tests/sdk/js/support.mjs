// What the tests of the JavaScript client share: the gateway under test, as run.py describes it in
// the environment, and clients for it.

import OpenAI from "openai";

export const BASE_URL = process.env.SDK_BASE_URL;
export const API_KEY = process.env.SDK_API_KEY;
export const MODEL = process.env.SDK_MODEL;
export const FAKE = process.env.SDK_BACKEND === "fake";
// Far above what an answer takes, so that only a hang meets it.
const PATIENCE_MS = 120_000;
const RECORD_WAIT_MS = 30_000;

export const ANSWER =
  "Hello! This tiny model runs on the real backend and always says exactly these words.";
export const QUICK = { chat_template_kwargs: { enable_thinking: false } };
export const WEATHER_TOOL = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

export function makeClient(changes = {}) {
  const options = { baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0, timeout: PATIENCE_MS };
  return new OpenAI({ ...options, ...changes });
}

/** A client, and a list that grows by one entry with every HTTP request it sends. */
export function counted(changes = {}) {
  const sent = [];
  const counting = (url, options) => {
    sent.push(url);
    return fetch(url, options);
  };
  return { client: makeClient({ fetch: counting, ...changes }), sent };
}

export const user = (content) => [{ role: "user", content }];

/** What the call was refused with. */
export async function raised(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was raised");
}

/** The record of that request, once it has that status. */
export async function recordOf(requestId, status) {
  const admin = BASE_URL.replace(/\/v1$/, "/api/v1/requests?limit=1000");
  const deadline = Date.now() + RECORD_WAIT_MS;
  for (;;) {
    const answer = await fetch(admin, { headers: { authorization: `Bearer ${API_KEY}` } });
    const { requests } = await answer.json();
    const mine = requests.find((r) => [r.id, r.client_request_id].includes(requestId));
    if (mine?.status === status) return mine;
    if (Date.now() > deadline) {
      throw new Error(`no ${status} record of ${requestId}: ${JSON.stringify(mine)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// The official MCP clients for TypeScript over /mcp: the present one, in the protocol of today and in the one
// before it, and the one that most programs still have. run.py puts the plugin test_tools beside the
// configuration; it runs one call at a time, so that a call that was not stopped would keep all later
// ones waiting.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import * as present from "@modelcontextprotocol/client";
import { Client as EarlierClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as EarlierTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { LoggingMessageNotificationSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { API_KEY, BASE_URL } from "./support.mjs";

const MCP = new URL(BASE_URL.replace(/\/v1$/, "/mcp"));
const PLUGIN = join(dirname(process.env.SDK_CONFIG), "plugins", "test_tools", "plugin.toml");
const PATIENCE = { timeout: 120_000 };
const WHO = { name: "sdk-tests", version: "1" };
const STARTED = ["Tool execution started", "Tool processing data", "Tool execution completed"];

const CLIENTS = {
  "today's protocol": () => new present.Client(WHO, { versionNegotiation: { mode: "auto" } }),
  "the protocol with sessions": () => new present.Client(WHO),
  "the earlier client": () => new EarlierClient(WHO),
};

/** A connected client, closed when the test ends. */
async function connected(context, name, key = API_KEY) {
  const client = CLIENTS[name]();
  const Transport = client instanceof EarlierClient ? EarlierTransport : present.StreamableHTTPClientTransport;
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  await client.connect(new Transport(MCP, { requestInit: { headers } }));
  context.after(() => client.close());
  return client;
}

/** Calls `heard` with each notification of that kind. */
function listen(client, method, schema, heard) {
  client.setNotificationHandler(client instanceof EarlierClient ? schema : method, heard);
}

function changePlugin() {
  const text = readFileSync(PLUGIN, "utf8");
  writeFileSync(PLUGIN, text.replace(/1\.0\.(\d+)/, (_, count) => `1.0.${Number(count) + 1}`));
}

for (const name of Object.keys(CLIENTS)) {
  test(`${name}: tools are listed and called`, PATIENCE, async (context) => {
    const client = await connected(context, name);
    assert.equal(client.getServerVersion().name, "mlx-gateway");
    const { tools } = await client.listTools();
    const calculator = tools.find((tool) => tool.name === "calculator");
    assert.deepEqual(calculator.inputSchema.required, ["expression"]);
    const sum = await client.callTool({ name: "calculator", arguments: { expression: "0.1 + 0.2" } });
    assert.deepEqual([sum.content[0].text, sum.isError], ["0.3", false]);
  });

  test(`${name}: a tool that fails is a result, an unknown one an error`, PATIENCE, async (context) => {
    const client = await connected(context, name);
    const wrong = await client.callTool({ name: "calculator", arguments: { expression: "1 / 0" } });
    assert.equal(wrong.isError, true);
    assert.equal((await client.callTool({ name: "test_error_handling", arguments: {} })).isError, true);
    await assert.rejects(client.callTool({ name: "nothing", arguments: {} }), /there is no tool/);
  });

  test(`${name}: contents of every kind arrive, and progress`, PATIENCE, async (context) => {
    const client = await connected(context, name);
    const mixed = await client.callTool({ name: "test_multiple_content_types", arguments: {} });
    assert.deepEqual(mixed.content.map((content) => content.type), ["text", "image", "resource"]);
    const reported = [];
    const onprogress = ({ progress, total }) => reported.push([progress, total]);
    await client.callTool(
      { name: "test_tool_with_progress", arguments: {} },
      ...(client instanceof EarlierClient ? [undefined, { onprogress }] : [{ onprogress }]),
    );
    assert.deepEqual(reported, [[0, 100], [50, 100], [100, 100]]);
  });

  test(`${name}: a call that is given up stops`, PATIENCE, async (context) => {
    const client = await connected(context, name);
    const options = { signal: AbortSignal.timeout(500) };
    const call = { name: "sleep", arguments: {} };
    await assert.rejects(
      client instanceof EarlierClient ? client.callTool(call, undefined, options) : client.callTool(call, options),
    );
    const next = await client.callTool({ name: "test_simple_text", arguments: {} });
    assert.notEqual(next.isError, true);
  });

  test(`${name}: without a valid key nobody comes in`, PATIENCE, async (context) => {
    for (const key of [null, "wrong"]) await assert.rejects(connected(context, name, key));
  });
}

for (const name of ["the protocol with sessions", "the earlier client"]) {
  test(`${name}: messages and changes of the plugins are told`, PATIENCE, async (context) => {
    const client = await connected(context, name);
    const heard = [];
    listen(client, "notifications/message", LoggingMessageNotificationSchema, ({ params }) => heard.push(params.data));
    await client.callTool({ name: "test_tool_with_logging", arguments: {} });
    assert.deepEqual(heard, STARTED);
    const changed = new Promise((resolve) => {
      listen(client, "notifications/tools/list_changed", ToolListChangedNotificationSchema, resolve);
    });
    changePlugin();
    await changed;
  });
}

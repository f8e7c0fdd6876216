// What the pictures show: gateways with models, requests, accounts, plugins and a conversation.
import { copyFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { until } from './until.mjs';

const COMPONENT = resolve('../tests/plugins/test_tools/test_tools.wasm');
const PASSWORD = 'correct horse battery';
const as = (token) => ({ authorization: `Bearer ${token}` });

function put(gateway, name, manifest, component) {
  const folder = join(gateway.folder, 'plugins', name);
  mkdirSync(folder, { recursive: true });
  if (component) copyFileSync(component, join(folder, `${name}.wasm`));
  else writeFileSync(join(folder, `${name}.wasm`), 'not a component');
  writeFileSync(join(folder, 'new.toml'), manifest);
  renameSync(join(folder, 'new.toml'), join(folder, 'plugin.toml'));
}

const lookUp = (...servers) =>
  `name = "test_tools"\nversion = "0.3.0"\ndescription = "Looks things up in the house"\n[permissions]\nhttp = ${JSON.stringify(servers)}\n`;

/** A plugin of somebody's own that asks for a server, and one that does not load. */
function plugins(gateway) {
  put(gateway, 'test_tools', lookUp('https://api.example.com', 'https://more.example.com'), COMPONENT);
  put(gateway, 'broken', 'name = "broken"\ndescription = "Was not copied whole"\n', null);
}

/** A plugin whose new version asks for more than was granted. */
export async function upgraded(gateway) {
  const state = async () => (await gateway.api('GET', '/api/v1/plugins/test_tools').catch(() => null))?.state;
  put(gateway, 'test_tools', lookUp('https://api.example.com'), COMPONENT);
  await until(async () => (await state()) === 'needs_grant', 'the plugin is there');
  const { permissions } = await gateway.api('GET', '/api/v1/plugins/test_tools');
  await gateway.api('POST', '/api/v1/plugins/test_tools/grant', { permissions });
  await until(async () => (await state()) === 'ready', 'it may do what it asked for');
  put(gateway, 'test_tools', lookUp('https://api.example.com', 'https://more.example.com'), COMPONENT);
  await until(async () => (await state()) === 'needs_grant', 'it asks for more');
}

/** Asks as somebody does, and gives the record's id. */
async function capture(gateway, token, words, headers = {}) {
  const body = JSON.stringify({
    model: 'gemma',
    stream: true,
    messages: [
      { role: 'system', content: 'You calculate with the tools you have.' },
      { role: 'user', content: words },
    ],
  });
  const response = await fetch(`${gateway.base}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...as(token), ...headers },
    body,
  });
  await response.text();
  return response.headers.get('x-request-id');
}

async function used(gateway, hub) {
  for (let i = 0; i < 4; i += 1)
    await gateway.ask('qwen', `#chunks=${60 + i * 40} #interval-us=3000 #prompt-tokens=${400 + i * 311} hello`);
  await gateway.ask('qwen-terse', '#chunks=12 #interval-us=3000 hello');
  await gateway.ask('gemma', '#chunks=80 #interval-us=6000 hello');
  await gateway.ask('qwen', '#error=400');
  await gateway.api('POST', '/api/v1/servers/gpt-oss/start');
  await gateway.api('POST', '/api/v1/servers/slow/start');
  for (const model of ['mlx-community/gemma-3-4b-it-4bit', 'mlx-community/Qwen3-4B-4bit'])
    await gateway.api('POST', '/api/v1/downloads', { model });
  await until(
    async () => (await gateway.api('GET', '/api/v1/downloads')).downloads.every((one) => one.status === 'completed'),
    'the downloads end',
  );
  await hub.slow('Qwen3-8B', 4_000);
  await gateway.api('POST', '/api/v1/downloads', { model: 'mlx-community/Qwen3-8B-4bit' });
}

const PICTURE = `data:image/svg+xml;base64,${Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 150"><path fill="#dfe9ef" d="M0 0h240v150H0z"/><path fill="#9fc3c0" d="m0 110 60-50 50 40 40-30 90 70v10H0z"/><path fill="#5f9a95" d="m0 130 80-40 60 34 50-24 50 34v16H0z"/><circle cx="188" cy="38" r="16" fill="#f1d38a"/></svg>',
).toString('base64')}`;

const ANSWER = `The CPU and the GPU read the same **pool of memory**, so weights are never copied. What a model needs is its weights and its KV cache:

$$\\text{bytes} = \\text{weights} + 2 \\cdot n_\\text{layers} \\cdot n_\\text{kv} \\cdot d_\\text{head} \\cdot 2 \\cdot \\text{tokens}$$

| model | weights | cache at 32k |
|---|---|---|
| Qwen3 4B, 4-bit | 2.3 GB | 4.8 GB |
| Qwen3 8B, 4-bit | 4.6 GB | 4.8 GB |

\`\`\`python
def kv_bytes(layers, heads, size, tokens):
    return 2 * layers * heads * size * 2 * tokens  # keys and values
\`\`\``;

/** A conversation with all that one can hold: a picture, thinking, a tool's call, a table, a formula and code. */
function conversation(gateway, token) {
  const call = {
    id: 'c1',
    name: 'calculator',
    arguments: '{"expression":"2*36*8*128*2*32768/10^9"}',
    decision: 'allowed',
    result: '4.831838208',
    isError: false,
    durationMs: 2,
  };
  const messages = [
    {
      id: 'm1',
      parent: null,
      role: 'user',
      profile: 'gemma',
      state: 'done',
      text: 'What is this?',
      attachments: [{ kind: 'image', name: 'hills.svg', urls: [PICTURE] }],
    },
    {
      id: 'm2',
      parent: 'm1',
      role: 'assistant',
      profile: 'gemma',
      state: 'done',
      text: 'Two ranges of hills under a low sun, drawn in four flat colours.',
      ttftMs: 412,
      durationMs: 1210,
      tokens: 17,
      promptTokens: 301,
    },
    {
      id: 'm3',
      parent: 'm2',
      role: 'user',
      profile: 'gemma',
      state: 'done',
      text: 'How much memory does an 8 B model need at 32k tokens?',
    },
    {
      id: 'm4',
      parent: 'm3',
      role: 'assistant',
      profile: 'gemma',
      state: 'done',
      thinking:
        'Weights at 4 bits, plus the cache: two times layers, heads, head size, two bytes each. 36 layers, 8 heads of 128. I let the calculator do it.',
      thoughtMs: 1830,
      text: '',
      calls: [call],
      ttftMs: 380,
      durationMs: 2600,
      tokens: 61,
      promptTokens: 340,
    },
    {
      id: 'm5',
      parent: 'm4',
      role: 'assistant',
      profile: 'gemma',
      state: 'done',
      text: ANSWER,
      ttftMs: 290,
      durationMs: 5120,
      tokens: 248,
      promptTokens: 421,
    },
  ];
  return gateway.api('POST', '/api/v1/chats', { title: 'Memory of an 8 B model', profile: 'gemma', leaf: 'm5', messages }, as(token));
}

async function accounts(gateway) {
  const register = (email, headers) => gateway.api('POST', '/api/v1/auth/register', { email, password: PASSWORD }, headers);
  const { token } = await register('ada@example.com');
  await register('grace@example.com');
  const { user } = await register('linus@example.com');
  await gateway.api('POST', `/api/v1/users/${user.id}/approve`, undefined, as(token));
  const { token: ofUser } = await gateway.api('POST', '/api/v1/auth/login', { email: 'linus@example.com', password: PASSWORD });
  await gateway.api('POST', '/api/v1/keys', { name: 'editor plugin', profiles: ['qwen'] }, as(token));
  await gateway.api(
    'POST',
    '/api/v1/keys',
    {
      name: 'nightly job',
      expires_at: '2030-01-01T00:00:00Z',
      requests_per_minute: 30,
      tokens_per_day: 200_000,
      tokens_per_month: 2_000_000,
    },
    as(token),
  );
  await gateway.api('PUT', '/api/v1/captures', { on: true }, as(token));
  return { token, ofUser };
}

/** A gateway in use; gives the sessions of two people and the ids of what has a page of its own. */
export async function furnish(gateway, hub) {
  plugins(gateway);
  await used(gateway, hub);
  const { token, ofUser } = await accounts(gateway);
  for (const title of ['A name for the new branch', 'Rewrite of the release notes'])
    await gateway.api(
      'POST',
      '/api/v1/chats',
      {
        title,
        profile: 'qwen',
        leaf: 'm1',
        messages: [{ id: 'm1', parent: null, role: 'user', profile: 'qwen', state: 'done', text: title }],
      },
      as(token),
    );
  const asked = {
    tools: await capture(gateway, token, '#tool #call=calculator #args={"expression":"6*7"} #interval-us=40000 What is six times seven?', {
      'x-mlx-gateway-tools': 'calculator',
    }),
    failed: await capture(gateway, token, '#error=500'),
    chat: (await conversation(gateway, token)).id,
  };
  return { token, ofUser, asked };
}

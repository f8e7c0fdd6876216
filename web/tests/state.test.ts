// Decisions of the page: where to go, what to show, what to send.
import { afterEach, expect, it, vi } from 'vitest';
import { EventStream, waitBefore, type GatewayEvent, type Link } from '../src/lib/api/events';
import { path, withQuery } from '../src/lib/api/client';
import { errorOf } from '../src/lib/api/errors';
import { enrich, markdown } from '../src/lib/format/markdown';
import { splitThinking } from '../src/lib/format/thinking';
import { Keyed } from '../src/lib/state/live.svelte';
import { choices, passes, profileName, type Filters } from '../src/lib/state/modelview';
import { bodyOf, changes, draftOf } from '../src/lib/state/profileform';
import { isOwnPage, safeNext } from '../src/lib/state/router.svelte';
import { screenAt } from '../src/lib/state/screens';
import { blank, bodyOf as keyBody, mayAsk, offered } from '../src/lib/state/keyform';
import { answers, hint } from '../src/lib/state/serverview';
import { DEMO, proposal } from '../src/lib/state/starter';
import { more as en } from '../src/lib/i18n/en.more';
import type { Model, Server } from '../src/lib/api/types';

afterEach(() => vi.unstubAllGlobals());

it.each([
  ['/servers?open=1', '/servers?open=1'],
  [null, '/'],
  ['//evil.example.com', '/'],
  ['/\\evil.example.com', '/'],
  ['https://evil.example.com', '/'],
  ['javascript:alert(1)', '/'],
  ['/api/v1/system', '/'],
  ['/login?next=/', '/'],
])('after a log-in %s leads to %s', (next, to) => expect(safeNext(next)).toBe(to));

it('pages are told from the API and from files', () => {
  expect(['/', '/servers', '/profiles/a'].every(isOwnPage)).toBe(true);
  expect(['/v1/models', '/api/openapi.json', '/docs', '/favicon.svg'].some(isOwnPage)).toBe(false);
});
it('a path leads to a screen and to what is named behind it', () => {
  expect(screenAt('/profiles/a%2Fb')).toMatchObject({ screen: { id: 'profiles' }, id: 'a/b' });
  expect(screenAt('/')).toMatchObject({ screen: { id: 'home' } });
  expect(screenAt('/nowhere')).toBeNull();
  expect(screenAt('/servers/%E0%A4%A')?.id).toBe('%E0%A4%A');
});
it('parts of a path are escaped, and empty parameters left out', () => {
  expect(path`/api/v1/profiles/${'a/b ?'}`).toBe('/api/v1/profiles/a%2Fb%20%3F');
  expect(withQuery('/x', { a: 1, b: '', c: null, d: 'e f' })).toBe('/x?a=1&d=e+f');
});
it('an error keeps the words, the code and the request id of the gateway', async () => {
  const body = JSON.stringify({ error: { message: 'no profile', code: 'not_found', param: 'model' } });
  const error = await errorOf(new Response(body, { status: 404, headers: { 'x-request-id': 'r1', 'retry-after': '7' } }));
  expect(error).toMatchObject({
    status: 404,
    code: 'not_found',
    message: 'no profile',
    param: 'model',
    requestId: 'r1',
    retryAfterSeconds: 7,
  });
  expect((await errorOf(new Response('<html>', { status: 502 }))).message).toBe('<html>');
});

it.each([
  ['plain', '', 'plain', false],
  ['<think>why', 'why', '', true],
  ['<think>why</think>\n\nso', 'why', 'so', false],
  ['<think>why</thi', 'why', '', true],
  ['<thi', '', '', false],
  ['1 < 2', '', '1 < 2', false],
  ['a <think>b</think>', '', 'a <think>b</think>', false],
])('CHAT-01: %j is told apart into thinking and answer, however it is cut', (text, thinking, answer, open) => {
  expect(splitThinking(text)).toEqual({ thinking, answer, open });
});

const ATTACKS = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<svg onload=alert(1)><a xlink:href="javascript:alert(1)">x</a></svg>',
  '[x](javascript:alert(1))',
  '[x](data:text/html,<script>alert(1)</script>)',
  '![x](https://evil.example.com/pixel.png)',
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>',
  '<form action=https://evil.example.com><input name=p><button>go</button></form>',
  '<a href="https://a.example" onclick="alert(1)" style="position:fixed">x</a>',
  '<style>@import url(https://evil.example.com)</style>',
  '<div id="app" class="x" data-a="b">x</div>',
  '`</code><script>alert(1)</script>`',
  '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
  '$\\href{javascript:alert(1)}{x}$ $\\htmlData{a=b}{x}$ $\\includegraphics{https://evil.example.com/x.png}$',
  '<math><mi xlink:href="javascript:alert(1)" href="javascript:alert(1)" onclick="alert(1)" style="position:fixed">x</mi></math>',
  '<span class="hljs-keyword toast">x</span><span class="hljs-keyword" onclick="alert(1)">y</span>',
  '```js\n</code></pre><img src=x onerror=alert(1)>\n```',
];
function expectHarmless(html: string) {
  const box = document.createElement('div');
  box.innerHTML = html;
  expect(box.querySelector('script,img,svg,iframe,style,form,input,button,object,embed,link,meta,video,audio,annotation-xml')).toBeNull();
  for (const element of box.querySelectorAll('*')) {
    const names = element.getAttributeNames();
    expect(names.filter((name) => /^on|style|src|xlink|^data|^id$|action/.test(name))).toEqual([]);
    expect(names.includes('href') && element.tagName !== 'A').toBe(false);
    expect(element.getAttribute('href') ?? 'https://').toMatch(/^https?:\/\//);
    expect(element.getAttribute('class') ?? 'hljs-x').toMatch(/^hljs-/);
    expect(element.getAttribute('class') ?? '').not.toMatch(/toast/);
  }
}
it.each(ATTACKS)('what a model writes cannot become active: %s', async (attack) => {
  expectHarmless(markdown(attack)!);
  await enrich('```js\n$x$');
  expectHarmless(markdown(attack)!);
});
it('HTML in a text loses its attributes before anything reads it', () => {
  expect(markdown('<p align=center onclick="x">a <br/> b</p>')).toBe('<p>a <br> b</p>');
  expect(markdown('a <b onclick=x>b</b> <img src=x onerror=y>')).toBe('<p>a <b>b</b> </p>\n');
});
it('formulas become MathML and code is coloured; prices stay prices', async () => {
  await enrich('```js\n$x$');
  expect(markdown('so $a^2$ and \\(b\\)')).toMatch(/^<p>so <span><math.*<msup><mi>a<\/mi><mn>2<\/mn><\/msup>.*<mi>b<\/mi>.*<\/p>\n$/);
  expect(markdown('$$\n\\frac{1}{2}\n$$')).toMatch(/<math[^>]*display="block".*<mfrac>/);
  expect(markdown('from $5 to $6')).toBe('<p>from $5 to $6</p>\n');
  expect(markdown('```js\nlet a = "b";\n```')).toContain('<span class="hljs-keyword">let</span>');
  expect(markdown('```nolanguage\n<b>\n```')).toBe('<pre><code>&lt;b&gt;\n</code></pre>\n');
});
it('ordinary Markdown stays what it is, and links open elsewhere', () => {
  expect(markdown('**a** [b](https://c.example)')).toBe(
    '<p><strong>a</strong> <a href="https://c.example" target="_blank" rel="noopener noreferrer nofollow">b</a></p>\n',
  );
});

const facts = (over: object) => ({
  kind: 'lm',
  model_type: 'qwen3',
  architectures: [],
  parameters: null,
  quantization: { value: { label: '4-bit', bits: 4 }, source: 'config.json' },
  context_length: null,
  kv_cache: null,
  input: { value: ['text'], source: 'x' },
  output: null,
  tool_use: { value: true, source: 'tags' },
  thinking: { value: 'switchable', source: 'x' },
  mcp_ready: null,
  license: null,
  weights_bytes: null,
  size_bytes: null,
  ...over,
});
const model = (id: string, over: object = {}): Model => ({
  id,
  facts: facts(over) as unknown as Model['facts'],
  fit: { fit: 'yes', needed_bytes: 1, budget_bytes: 2, in_use_bytes: 0 } as Model['fit'],
});
const none: Filters = { q: '', architecture: '', quantization: '', kind: '', tools: false, thinking: false, mcp: false, fits: false };

it('DISC-03: models are found by their characteristics, and unknown is not yes', () => {
  const text = model('a/Qwen3-4B');
  const vision = model('a/gemma-vision', {
    model_type: 'gemma3',
    input: { value: ['text', 'image'], source: 'x' },
    tool_use: null,
    thinking: { value: 'no', source: 'x' },
  });
  const unread: Model = { id: 'a/unread', facts: null };
  const found = (filters: Partial<Filters>) =>
    [text, vision, unread].filter((one) => passes(one, { ...none, ...filters })).map((one) => one.id);
  expect(found({})).toHaveLength(3);
  expect(found({ q: 'qwen 4b' })).toEqual(['a/Qwen3-4B']);
  expect(found({ kind: 'multimodal' })).toEqual(['a/gemma-vision']);
  expect(found({ kind: 'text', tools: true, thinking: true, fits: true, quantization: '4-bit', architecture: 'qwen3' })).toEqual([
    'a/Qwen3-4B',
  ]);
  expect(found({ mcp: true })).toEqual([]);
  expect(choices([text, vision, unread], (of) => of.model_type)).toEqual(['gemma3', 'qwen3']);
});
it('a model gives a profile a usable name', () => {
  expect(profileName('mlx-community/Qwen3-4B-4bit')).toBe('qwen3-4b-4bit');
  expect(profileName('/a/Ünï côde/')).toBe('model');
});

it('PRO-01, PRO-02: a form is sent as the API takes it, with what it does not know left alone', () => {
  const draft = {
    ...draftOf({ name: 'a', model: 'm', defaults: { temperature: 1, seed: 7 } }),
    temperature: '0.5',
    system_prompt: 'Be brief.',
    description: ' Good\nfor tests ',
    aliases: 'x, y',
  };
  expect(bodyOf(draft, { temperature: 1, seed: 7 })).toEqual({
    name: 'a',
    model: 'm',
    aliases: ['x', 'y'],
    system_prompt: 'Be brief.',
    description: 'Good\nfor tests',
    defaults: { seed: 7, temperature: 0.5 },
    tools: [],
    structured: false,
    pinned: false,
    preload: false,
  });
  expect(changes(draftOf({ name: 'a' }), { ...draftOf({ name: 'a' }), pinned: true })).toEqual(['pinned']);
});
it('the starter model is the largest that fits comfortably', () => {
  expect([proposal(2e9), proposal(8e9), proposal(12e9), proposal(48e9)]).toEqual([
    DEMO,
    'mlx-community/Qwen3-4B-4bit',
    'mlx-community/Qwen3-8B-4bit',
    'mlx-community/Qwen3-30B-A3B-4bit',
  ]);
});
it('only a backend that answers has a speed', () => {
  const states = ['stopped', 'queued', 'starting', 'loading', 'ready', 'draining', 'stopping', 'failed'];
  expect(states.filter((state) => answers({ state } as unknown as Server))).toEqual(['ready', 'draining']);
});
it('a failure comes with a hint', () => {
  const failed = (error: string, ...log_tail: string[]) => hint({ error, log_tail } as unknown as Server, en.servers);
  expect(failed('exited', 'RuntimeError: [metal] out of memory')).toBe(en.servers.hintMemory);
  expect(failed('exited', 'FileNotFoundError: no such file')).toBe(en.servers.hintMissing);
  expect(failed('exited with code 1')).toBe(en.servers.hintLogs);
});

it('a list takes in what changed at its place, so that nothing jumps', async () => {
  const list = new Keyed<{ id: string; n: number; removed?: boolean }>(
    async () => [
      { id: 'a', n: 1 },
      { id: 'b', n: 1 },
    ],
    (one) => one.id,
  );
  await list.load();
  list.take({ id: 'a', n: 2 });
  list.take({ id: 'c', n: 1 });
  expect(list.data).toEqual([
    { id: 'a', n: 2 },
    { id: 'b', n: 1 },
    { id: 'c', n: 1 },
  ]);
  list.take({ id: 'b', n: 1, removed: true });
  expect(list.data?.map((one) => one.id)).toEqual(['a', 'c']);
});

it('an event is newer than an answer that was asked for before it, and each thing keeps its place', async () => {
  type Thing = { id: string; n: number; removed?: boolean };
  let answer: (list: Thing[]) => void = () => {};
  const list = new Keyed<Thing>(
    () => new Promise((done) => (answer = done)),
    (one) => one.id,
  );
  const load = (things: Thing[], meanwhile = () => {}) => {
    const loaded = list.load();
    meanwhile();
    answer(things);
    return loaded;
  };
  await load([{ id: 'b', n: 1 }], () => list.take({ id: 'b', n: 2 }));
  expect(list.data).toEqual([{ id: 'b', n: 2 }]);
  await load(
    [
      { id: 'a', n: 1 },
      { id: 'b', n: 3 },
      { id: 'c', n: 1 },
    ],
    () => list.take({ id: 'c', n: 1, removed: true }),
  );
  expect(list.data).toEqual([
    { id: 'b', n: 3 },
    { id: 'a', n: 1 },
  ]);
  const begun = list.begin();
  list.take({ id: 'a', n: 5 });
  list.answered({ id: 'a', n: 4 }, begun);
  list.answered({ id: 'b', n: 4 }, begun);
  expect(list.data).toEqual([
    { id: 'b', n: 4 },
    { id: 'a', n: 5 },
  ]);
});

function sse(...chunks: string[]): Response {
  return new Response(
    new ReadableStream({ start: (out) => (chunks.forEach((chunk) => out.enqueue(new TextEncoder().encode(chunk))), out.close()) }),
    { headers: { 'content-type': 'text/event-stream' } },
  );
}
it('the stream goes on behind the last event, and says when it missed too much', async () => {
  const asked: (string | null)[] = [];
  const heard: GatewayEvent[] = [];
  const links: Link[] = [];
  let stale = 0;
  const answers = [
    sse('id: e-1\nevent: stream.opened\ndata: {}\n\nid: e-2\nevent: server.ch', 'anged\ndata: {"id":"a"}\n\n'),
    sse('id: e-9\nevent: stream.reset\ndata: {}\n\n'),
  ];
  vi.stubGlobal('fetch', async (_: string, init: RequestInit) => {
    asked.push(new Headers(init.headers).get('last-event-id'));
    const answer = answers.shift();
    if (!answer) throw new TypeError('gone');
    return answer;
  });
  const stream = new EventStream('/api/v1/events', {
    event: (event) => heard.push(event),
    stale: () => (stale += 1),
    link: (link) => links.push(link),
  });
  stream.start();
  await vi.waitFor(() => {
    stream.retry();
    expect(asked.length).toBeGreaterThanOrEqual(3);
  });
  stream.stop();
  expect(heard).toEqual([{ id: 'e-2', name: 'server.changed', data: { id: 'a' } }]);
  expect(asked.slice(0, 3)).toEqual([null, 'e-2', 'e-9']);
  // Once when it stands, and once for what was missed.
  expect(stale).toBe(2);
  expect(links).toContain('waiting');
  expect(links.at(-1)).toBe('closed');
});
it('waits longer after each failure, up to a bound', () => {
  expect([0, 1, 2, 20].map((attempt) => waitBefore(attempt, 1))).toEqual([500, 1000, 2000, 15_000]);
  expect(waitBefore(3, 0)).toBe(2000);
});

it('a new key says only what was filled in', () => {
  const draft = { ...blank(), name: ' laptop ' };
  expect(keyBody(draft, false, 0)).toEqual({ name: 'laptop', scopes: ['inference'] });
  draft.profiles = 'qwen, gemma';
  draft.tools = 'calculator';
  draft.days = 1;
  draft.limits = { ...draft.limits, requests_per_minute: 60, tokens_per_day: 20_000 };
  expect(keyBody(draft, false, 0)).toEqual({
    name: 'laptop',
    scopes: ['inference'],
    profiles: ['qwen', 'gemma'],
    tools: ['calculator'],
    expires_at: '1970-01-02T00:00:00.000Z',
    requests_per_minute: 60,
    tokens_per_day: 20_000,
  });
  expect(keyBody(draft, true, 0).scopes).toContain('admin');
  expect(offered(false)).toEqual(['inference', 'mcp', 'tools']);
});

it('a profile is for the keys that work, ask models, and are not kept to others', () => {
  const key = { status: 'active', scopes: ['inference'], profiles: null };
  expect(mayAsk(key, 'qwen')).toBe(true);
  expect(mayAsk({ ...key, profiles: ['qwen'] }, 'qwen')).toBe(true);
  expect(mayAsk({ ...key, profiles: ['gemma'] }, 'qwen')).toBe(false);
  expect(mayAsk({ ...key, scopes: ['mcp'] }, 'qwen')).toBe(false);
  expect(mayAsk({ ...key, status: 'expired' }, 'qwen')).toBe(false);
});

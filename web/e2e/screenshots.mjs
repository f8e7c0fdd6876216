// Pictures of every screen at three widths, light and dark, with a page that shows them all.
//   node e2e/screenshots.mjs FOLDER [PATTERN]    (of file names, such as `^servers-390`)
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { Hub } from './lib/hub.mjs';
import { until } from './lib/until.mjs';

const FOLDER = process.argv[2] ?? 'screenshots';
const WANTED = new RegExp(process.argv[3] ?? '');
const WIDTHS = [390, 1024, 1600];
const THEMES = ['light', 'dark'];
const SCREENS = {
  home: '/',
  servers: '/servers',
  models: '/models',
  hub: '/models?tab=hub&q=qwen',
  profiles: '/profiles',
  profile: '/profiles/qwen',
  model: '/models?tab=hub&q=qwen&open=mlx-community/Qwen3-4B-4bit',
  'profile-new': '/profiles/new?model=mlx-community/Qwen3-4B-4bit&name=qwen3',
  chat: '/chat?profile=gemma',
  usage: '/usage',
  'usage-user': '/usage?by=user',
  requests: '/requests',
  request: () => `/requests/${asked.tools}`,
  'request-raw': () => `/requests/${asked.tools}`,
  'request-failed': () => `/requests/${asked.failed}`,
  captures: '/requests',
  'server-log': '/servers?open=gemma',
  plugins: '/plugins',
  keys: '/keys',
  users: '/users',
  audit: '/audit',
  settings: '/settings',
  login: '/login',
  setup: '/setup',
  'setup-model': '/setup?step=model',
  'setup-use': '/setup?step=use',
};

/** Requests that have a page of their own here. */
const asked = {};

/** A plugin of somebody's own that asks for a server, and one that does not load. */
function plugins(gateway) {
  const put = (name, manifest, component) => {
    const folder = join(gateway.folder, 'plugins', name);
    mkdirSync(folder, { recursive: true });
    if (component) copyFileSync(component, join(folder, `${name}.wasm`));
    else writeFileSync(join(folder, `${name}.wasm`), 'not a component');
    writeFileSync(join(folder, 'plugin.toml'), manifest);
  };
  put('test_tools', 'name = "test_tools"\nversion = "0.3.0"\ndescription = "Looks things up in the house"\n[permissions]\nhttp = ["https://api.example.com", "https://more.example.com"]\n', resolve('../tests/plugins/test_tools/test_tools.wasm'));
  put('broken', 'name = "broken"\ndescription = "Was not copied whole"\n', null);
}

/** Asks as somebody does, and gives the record's id. */
async function capture(gateway, token, words, headers = {}) {
  const body = JSON.stringify({ model: 'gemma', stream: true, messages: [{ role: 'system', content: 'You calculate with the tools you have.' }, { role: 'user', content: words }] });
  const response = await fetch(`${gateway.base}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers }, body });
  await response.text();
  return response.headers.get('x-request-id');
}

async function fill(gateway, hub) {
  for (let i = 0; i < 4; i += 1) await gateway.ask('qwen', `#chunks=${60 + i * 40} #interval-us=3000 #prompt-tokens=${400 + i * 311} hello`);
  await gateway.ask('qwen-terse', '#chunks=12 #interval-us=3000 hello');
  await gateway.ask('gemma', '#chunks=80 #interval-us=6000 hello');
  await gateway.ask('qwen', '#error=400');
  await gateway.api('POST', '/api/v1/servers/gpt-oss/start');
  await gateway.api('POST', '/api/v1/servers/slow/start');
  for (const model of ['mlx-community/gemma-3-4b-it-4bit', 'mlx-community/Qwen3-4B-4bit']) await gateway.api('POST', '/api/v1/downloads', { model }).catch((error) => process.stderr.write(`   ${error.message}\n`));
  await until(async () => (await gateway.api('GET', '/api/v1/downloads')).downloads.some((one) => one.status === 'completed'), 'a download ends');
  await hub.slow('Qwen3-8B', 40_000);
  await gateway.api('POST', '/api/v1/downloads', { model: 'mlx-community/Qwen3-8B-4bit' });
}

async function account(gateway) {
  const register = (email) => gateway.api('POST', '/api/v1/auth/register', { email, password: 'correct horse battery' });
  const { token } = await register('ada@example.com');
  await register('grace@example.com');
  const as = { authorization: `Bearer ${token}` };
  await gateway.api('POST', '/api/v1/keys', { name: 'editor plugin', profiles: ['qwen'] }, as);
  await gateway.api('POST', '/api/v1/keys', { name: 'nightly job', expires_at: '2030-01-01T00:00:00Z' }, as);
  await gateway.api('PUT', '/api/v1/captures', { on: true }, as);
  asked.tools = await capture(gateway, token, '#tool #call=calculator #args={"expression":"6*7"} #interval-us=40000 What is six times seven?', { 'x-mlx-gateway-tools': 'calculator' });
  asked.failed = await capture(gateway, token, '#error=500');
  return token;
}

/** A conversation, and tokens flowing while the picture is taken. */
async function prepare(page, name) {
  if (name === 'request') await page.getByRole('tabpanel').getByText('The tool said: 42').waitFor();
  if (name === 'request-raw') await page.getByRole('tab', { name: 'Raw' }).click();
  if (name === 'request-failed') await page.getByRole('heading', { name: 'Error' }).waitFor();
  if (name === 'captures') {
    await page.getByRole('button', { name: 'Stop capturing' }).click();
    await page.getByRole('button', { name: 'Capture requests' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Capture requests' }).waitFor();
  }
  if (name !== 'chat') return;
  await page.getByRole('textbox').fill('#think=24 #text=Unified_memory_lets_the_CPU_and_the_GPU_share_**one_pool**:_weights_are_read_where_they_lie,_nothing_is_copied.');
  await page.keyboard.press('Enter');
  await page.getByText(/first token/).waitFor();
}

mkdirSync(FOLDER, { recursive: true });
const browser = await launch();
const hub = await Hub.start();
const gateway = await Gateway.start({ env: { HF_ENDPOINT: hub.base } });
try {
  plugins(gateway);
  await fill(gateway, hub);
  const token = await account(gateway);
  const rows = [];
  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      await gateway.api('PUT', '/api/v1/captures', { on: true }, { authorization: `Bearer ${token}` });
      const { context, page, said } = await open(browser, gateway.base, { theme, width, height: width < 500 ? 844 : 900 });
      await context.addCookies([{ name: 'mlx_gateway_session', value: token, url: gateway.base }]);
      for (const [name, path] of Object.entries(SCREENS)) {
        const file = `${name}-${width}-${theme}.png`;
        if (!WANTED.test(file)) continue;
        const flow = ['servers', 'home', 'requests'].includes(name) ? gateway.askAs(token, 'gemma', '#chunks=300 #interval-us=14000 on') : null;
        await page.goto(gateway.base + (typeof path === 'string' ? path : path()));
        await page.locator('h1').first().waitFor();
        await until(async () => (await page.locator('.bone').count()) === 0, `${name} is loaded`);
        await prepare(page, name);
        if (flow) await until(async () => (await gateway.api('GET', '/api/v1/servers', undefined, { authorization: `Bearer ${token}` })).servers.some((one) => one.tokens_per_s > 20), 'tokens flow');
        await page.screenshot({ path: join(FOLDER, file), fullPage: name !== 'captures' });
        rows.push({ name, width, theme, file });
        await flow;
      }
      if (said.length) process.stderr.write(`   the console at ${width} px, ${theme}: ${said.join('; ')}\n`);
      await context.close();
    }
  }
  writeFileSync(join(FOLDER, 'index.html'), index(rows));
  process.stdout.write(`   ${rows.length} pictures: ${join(FOLDER, 'index.html')}\n`);
} finally {
  await browser.close();
  await gateway.stop();
  await hub.stop();
}

function index(rows) {
  const names = [...new Set(rows.map((row) => row.name))];
  const figure = ({ file, width, theme }) => `<figure><a href="${file}"><img src="${file}" loading="lazy" height="420" alt="${file}"></a><figcaption>${width} px, ${theme}</figcaption></figure>`;
  const section = (name) => `<h2 id="${name}">${name}</h2><div>${rows.filter((row) => row.name === name).map(figure).join('')}</div>`;
  return `<!doctype html><meta charset="utf-8"><title>Screens</title><style>body{font:14px sans-serif;margin:24px;background:#888}div{display:flex;gap:16px;overflow-x:auto}figure{margin:0}img{display:block}</style><p>${names.map((name) => `<a href="#${name}">${name}</a>`).join(' ')}</p>${names.map(section).join('')}`;
}

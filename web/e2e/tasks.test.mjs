// Ten tasks as clicks: each is done from the first page in as many as docs/tasks.md says, and no more.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { Hub } from './lib/hub.mjs';
import { until } from './lib/until.mjs';
import { tile } from './lib/visit.mjs';

const COMPONENT = resolve('../tests/plugins/test_tools/test_tools.wasm');
/** What the document promises, by the number of the task. */
const PROMISED = new Map(
  [...readFileSync('../docs/tasks.md', 'utf8').matchAll(/^\| (\d+) \| [^|]+ \| (\d+) \|/gm)].map(([, task, clicks]) => [
    Number(task),
    Number(clicks),
  ]),
);
const DAY_MS = 86_400_000;

let browser;
let hub;
let gateway;
let as;
let token;
before(async () => {
  browser = await launch();
  hub = await Hub.start();
  gateway = await Gateway.start({ env: { HF_ENDPOINT: hub.base } });
  const register = (email) => gateway.api('POST', '/api/v1/auth/register', { email, password: 'correct horse battery' });
  ({ token } = await register('ada@example.com'));
  as = { authorization: `Bearer ${token}` };
  await register('grace@example.com');
  await gateway.askAs(token, 'gemma', '#chunks=3 hello');
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
  await hub?.stop();
});

/** A task from the first page on: what is clicked is counted by the page itself, keys are not. */
function task(number, what, work, options = {}) {
  test(`task ${number}: ${what}`, async () => {
    await options.before?.();
    const { context, page, said } = await open(browser, gateway.base);
    try {
      await context.addCookies([{ name: 'mlx_gateway_session', value: token, url: gateway.base }]);
      await page.addInitScript(() => {
        window.clicks = 0;
        // Of a mouse: a key that presses a button makes a click without a place in a row of clicks.
        document.addEventListener('click', (event) => (window.clicks += event.isTrusted && event.detail > 0 ? 1 : 0), true);
      });
      if (options.tomorrow) await page.clock.setFixedTime(Date.now() + DAY_MS);
      await page.goto(gateway.base);
      await page.getByRole('heading', { name: 'Home' }).waitFor();
      await until(async () => (await page.locator('.bone').count()) === 0, 'the first page is loaded');
      await work(page);
      assert.equal(await page.evaluate(() => window.clicks), PROMISED.get(number));
      assert.deepEqual(said, []);
    } finally {
      await context.close();
      await options.after?.();
    }
  });
}

const nav = (page, name) => page.getByRole('navigation').getByRole('link', { name, exact: true }).first().click();

/** Types where the keyboard already is, else clicks there first, as a person has to. */
async function type(page, box, text) {
  await box.waitFor();
  if (!(await box.evaluate((element) => element === document.activeElement))) await box.click();
  await page.keyboard.type(text);
}

task(1, 'a first chat', async (page) => {
  await nav(page, 'Chat');
  const box = page.getByRole('textbox', { name: /^Message/ });
  await until(async () => box.evaluate((element) => element === document.activeElement), 'the box is ready to be typed into');
  await type(page, box, '#text=Good_morning.');
  await page.keyboard.press('Enter');
  await page.getByRole('log').getByText('Good morning.').waitFor();
});

task(
  2,
  'why a request failed',
  async (page) => {
    await page.getByRole('row').filter({ hasText: 'Failed' }).first().getByRole('link').click();
    await page.getByRole('heading', { name: 'Error' }).waitFor();
    await page
      .getByText(/scripted|fake|#error|backend/i)
      .first()
      .waitFor();
  },
  { before: () => gateway.askAs(token, 'gemma', '#error=500') },
);

task(3, 'a key for a colleague', async (page) => {
  await nav(page, 'API keys');
  await page.getByRole('button', { name: 'Create key' }).first().click();
  await type(page, page.getByLabel('Name', { exact: true }), 'for Grace');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Copy' }).first().click();
  await page.getByRole('dialog').getByText('Copied').first().waitFor();
});

task(
  4,
  'who used most yesterday',
  async (page) => {
    await nav(page, 'Usage');
    await page.getByRole('tab', { name: 'Yesterday' }).click();
    await page.getByRole('tab', { name: 'User' }).click();
    const first = page.getByRole('region', { name: 'Usage' }).locator('tbody tr').first();
    await first.getByText('ada@example.com').waitFor();
  },
  { tomorrow: true },
);

let runaway;
let leave;
task(
  5,
  'a runaway request is stopped',
  async (page) => {
    await page.getByRole('button', { name: 'Cancel request gemma' }).click();
    await until(
      async () => (await gateway.api('GET', '/api/v1/requests?limit=1', undefined, as)).requests[0].status === 'cancelled',
      'it is stopped',
    );
  },
  {
    before: async () => {
      leave = new AbortController();
      const headers = { 'content-type': 'application/json', ...as };
      const body = JSON.stringify({
        model: 'gemma',
        stream: true,
        messages: [{ role: 'user', content: '#chunks=20000 #interval-us=20000 on and on' }],
      });
      const response = await fetch(`${gateway.base}/v1/chat/completions`, { method: 'POST', headers, body, signal: leave.signal });
      runaway = response.text().catch(() => {});
    },
    after: () => {
      leave.abort();
      return runaway;
    },
  },
);

task(
  6,
  'a plugin is added and granted what it asks for',
  async (page) => {
    await nav(page, 'Plugins');
    const chosen = page.waitForEvent('filechooser');
    await page.getByRole('button', { name: 'Add plugin' }).click();
    const folder = join(gateway.folder, 'to-add');
    await (await chosen).setFiles([join(folder, 'test_tools.wasm'), join(folder, 'plugin.toml')]);
    const dialog = page.getByRole('dialog');
    await dialog.getByText('https://api.example.com').waitFor();
    await dialog.getByRole('button', { name: 'Grant permissions' }).click();
    await page.getByRole('article', { name: 'test_tools', exact: true }).getByText('Ready').waitFor();
  },
  {
    before: () => {
      const folder = join(gateway.folder, 'to-add');
      mkdirSync(folder);
      copyFileSync(COMPONENT, join(folder, 'test_tools.wasm'));
      writeFileSync(join(folder, 'plugin.toml'), 'name = "test_tools"\n[permissions]\nhttp = ["https://api.example.com"]\n');
    },
  },
);

task(7, 'a model is started', async (page) => {
  await nav(page, 'Servers');
  await type(page, page.getByRole('combobox', { name: 'Profile' }), 'qwen');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await tile(page, 'qwen').getByText('Running').waitFor();
});

task(8, 'a model is downloaded', async (page) => {
  await nav(page, 'Models');
  await page.getByRole('tab', { name: 'Hub' }).click();
  await type(page, page.getByRole('searchbox'), 'gemma-3-4b');
  await page
    .getByRole('article', { name: /gemma-3-4b-it-4bit/ })
    .getByRole('button', { name: /Download/ })
    .click();
  await until(async () => (await gateway.api('GET', '/api/v1/downloads', undefined, as)).downloads.length === 1, 'the download has begun');
});

task(9, 'somebody who asked for an account is let in', async (page) => {
  await page
    .getByRole('link', { name: /waits? for|pending|account/i })
    .first()
    .click();
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByText('may log in now').waitFor();
});

task(
  10,
  'why a server does not start',
  async (page) => {
    await page
      .getByRole('link', { name: /gpt-oss/ })
      .first()
      .click();
    const failed = tile(page, 'gpt-oss');
    await failed.getByText('Failed', { exact: true }).waitFor();
    assert.match(await failed.getByRole('region', { name: 'Last log lines' }).innerText(), /\w/);
  },
  {
    before: async () => {
      await gateway.api('POST', '/api/v1/servers/gpt-oss/start', undefined, as);
      await until(
        async () =>
          (await gateway.api('GET', '/api/v1/servers', undefined, as)).servers.some(
            ({ state, profiles }) => state === 'failed' && profiles.includes('gpt-oss'),
          ),
        'it has failed',
      );
    },
  },
);

test('the document has ten tasks', () =>
  assert.deepEqual(
    [...PROMISED.keys()],
    Array.from({ length: 10 }, (_, i) => i + 1),
  ));

// Accounts and keys, by requirement id: each test with a gateway of its own, since the first account
// changes everything.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';

const ADA = { email: 'ada@example.com', password: 'correct horse battery' };
const BOB = { email: 'bob@example.com', password: 'staple of the north' };
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

async function withGateway(options, work) {
  const gateway = await Gateway.start(options);
  const closing = [];
  try {
    const fresh = async () => {
      const opened = await open(browser, gateway.base);
      closing.push(opened.context);
      return opened;
    };
    await work(gateway, fresh);
  } finally {
    for (const context of closing) await context.close();
    await gateway.stop();
  }
}

async function fill(page, { email, password }) {
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password').fill(password);
}

test('B AUTH-01, AUTH-02, AUTH-04, AUTH-05, AUTH-06: set up, ask for an account, badge, approve, log in', () =>
  withGateway({}, async (gateway, fresh) => {
    const { page: ada, said } = await fresh();
    await ada.goto(`${gateway.base}/`);
    await ada.waitForURL('**/setup');
    await fill(ada, ADA);
    await ada.getByRole('button', { name: 'Create account' }).click();
    await ada.getByRole('heading', { name: 'Doctor' }).waitFor();
    assert.equal((await gateway.api('GET', '/api/v1/auth/state')).setup, false);
    await ada.getByRole('button', { name: 'Skip the set-up' }).click();
    await ada.getByRole('heading', { name: 'Home' }).waitFor();

    const { page: bob } = await fresh();
    await bob.goto(`${gateway.base}/requests`);
    await bob.waitForURL('**/login?next=%2Frequests');
    await bob.getByRole('button', { name: 'Create an account' }).click();
    await fill(bob, BOB);
    await bob.getByRole('button', { name: 'Ask for an account' }).click();
    await bob.getByText('Your request was sent').waitFor();
    await fill(bob, BOB);
    await bob.getByRole('button', { name: 'Log in' }).click();
    await bob.getByText('waiting for approval').waitFor();

    await ada.goto(`${gateway.base}/users`);
    assert.equal(await ada.getByTestId('pending-badge').innerText(), '1');
    await ada.getByRole('button', { name: 'Approve' }).click();
    await ada.getByText('may log in now').waitFor();
    await fill(bob, BOB);
    await bob.getByRole('button', { name: 'Log in' }).click();
    await bob.getByRole('heading', { name: 'Requests' }).waitFor();
    assert.equal(await bob.getByRole('link', { name: 'Users' }).count(), 0);

    // Restricted to one tool, he sees no other, at once and with the session he has.
    const toolsOfBob = () => bob.evaluate(async () => (await (await fetch('/api/v1/tools')).json()).tools.map(({ name }) => name));
    assert.deepEqual((await toolsOfBob()).sort(), ['calculator', 'get_weather']);
    await ada.getByRole('row', { name: BOB.email }).getByRole('button', { name: 'Tools' }).click();
    await ada.getByLabel('All tools').uncheck();
    await ada.getByLabel('calculator').check();
    await ada.getByRole('button', { name: 'Save' }).click();
    await ada.getByRole('row', { name: BOB.email }).getByText('1 tool').waitFor();
    assert.deepEqual(await toolsOfBob(), ['calculator']);
    assert.deepEqual(said, []);
  }));

test('B AUTH-05: a password is reset by a link that works once', () =>
  withGateway({}, async (gateway, fresh) => {
    const { page } = await fresh();
    await page.goto(`${gateway.base}/setup`);
    await fill(page, ADA);
    await page.getByRole('button', { name: 'Create account' }).click();
    await page.getByRole('heading', { name: 'Doctor' }).waitFor();
    await page.goto(`${gateway.base}/users`);
    await page.getByRole('button', { name: 'Reset password' }).click();
    const link = (await page.getByRole('region', { name: 'One-time link' }).innerText()).trim();
    const { page: other } = await fresh();
    await other.goto(link);
    await other.getByLabel('Password').fill('another long one');
    await other.getByRole('button', { name: 'Set password' }).click();
    await other.getByText('Your password is set').waitFor();
    // Who was logged in with the old one is so no more.
    await page.waitForURL('**/login?next=%2Fusers');
    await fill(other, { ...ADA, password: 'another long one' });
    await other.getByRole('button', { name: 'Log in' }).click();
    await other.getByRole('heading', { name: 'Home' }).waitFor();
  }));

test('A AUTH-01, AUTH-04: the key of the environment opens the pages and is kept on this machine', () =>
  withGateway({ env: { MLX_GATEWAY_API_KEY: 'sk-of-the-environment' } }, async (gateway, fresh) => {
    const { page, context } = await fresh();
    await page.goto(`${gateway.base}/servers`);
    await page.waitForURL('**/login?next=%2Fservers');
    await page.getByRole('tab', { name: 'API key' }).click();
    await page.locator('input[type=password]').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('This key is not valid.').waitFor();
    await page.locator('input[type=password]').fill('sk-of-the-environment');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Servers' }).waitFor();
    assert.equal(await page.evaluate(() => localStorage.getItem('mlx-gateway.key')), 'sk-of-the-environment');
    const cookie = (await context.cookies()).find(({ name }) => name === 'mlx_gateway_session');
    assert.ok(cookie?.httpOnly && cookie.sameSite === 'Strict');
    await context.clearCookies();
    await page.goto(`${gateway.base}/profiles`);
    await page.getByRole('heading', { name: 'Profiles' }).waitFor();
  }));

test('a key is shown once, with a snippet that works as it stands', () =>
  withGateway({}, async (gateway, fresh) => {
    const { page } = await fresh();
    await page.goto(`${gateway.base}/keys?new=1`);
    await page.getByLabel('Name', { exact: true }).fill('laptop');
    await page.getByRole('dialog').getByRole('button', { name: 'Create key' }).click();
    const code = await page.getByRole('region', { name: 'curl' }).innerText();
    const { execFileSync } = await import('node:child_process');
    const answer = JSON.parse(execFileSync('sh', ['-c', code.replace(/^curl/, 'curl -s')], { encoding: 'utf8' }));
    assert.equal(answer.object, 'chat.completion');
    const [, key] = /Bearer (\S+)'/.exec(code);
    const listed = await gateway.api('GET', '/api/v1/keys', undefined, { authorization: `Bearer ${key}` }).catch((error) => error.message);
    assert.ok(!String(JSON.stringify(listed)).includes(key));
  }));

test('a key gets limits and scopes, and the list shows how much of its budget is gone', () =>
  withGateway({}, async (gateway, fresh) => {
    const { page } = await fresh();
    const create = async (name, fill) => {
      await page.goto(`${gateway.base}/keys?new=1`);
      const form = page.getByRole('dialog');
      await form.getByLabel('Name', { exact: true }).fill(name);
      await fill?.(form);
      await form.getByRole('button', { name: 'Create key' }).click();
      const [, key] = /Bearer (\S+)'/.exec(await page.getByRole('region', { name: 'curl' }).innerText());
      return key;
    };
    const first = await create('first');
    const key = await create('colleague', async (form) => {
      await form.getByLabel('tools', { exact: true }).check();
      await form.getByText('Limits', { exact: true }).click();
      await form.getByLabel('Requests per minute').fill('60');
      await form.getByLabel('Tokens per day').fill('20000');
      await form.getByLabel('Tools', { exact: true }).fill('calculator');
    });
    const { keys } = await gateway.api('GET', '/api/v1/keys', undefined, { authorization: `Bearer ${first}` });
    const made = keys.find((one) => one.name === 'colleague');
    assert.deepEqual(
      [made.scopes, made.tools, made.requests_per_minute, made.tokens_per_day, made.tokens_per_month],
      [['inference', 'tools'], ['calculator'], 60, 20_000, null],
    );
    await gateway.askAs(key, 'gemma', '#chunks=30 hello');
    await page.goto(`${gateway.base}/profiles/gemma`);
    await page.getByRole('region', { name: 'Access' }).getByText('colleague').waitFor();
    await page.goto(`${gateway.base}/keys`);
    const row = page.getByRole('row').filter({ hasText: 'colleague' });
    await row.getByText('60 requests/min').waitFor();
    const told = await row.getByRole('meter', { name: 'Tokens per day' }).getAttribute('aria-valuetext');
    assert.match(told, /^[1-9]\d* \/ 20K$/);
  }));

test('A AUTH-02, A AUTH-03: without a key and an account everything is open on this machine; with a key nothing is without it', async () => {
  const tried = async (gateway, headers = {}) => {
    const asked = [
      ['GET', '/v1/models'],
      ['POST', '/mcp'],
      ['GET', '/api/v1/servers'],
      ['GET', '/api/v1/requests'],
    ];
    return Promise.all(asked.map(async ([method, path]) => (await fetch(gateway.base + path, { method, headers })).status === 401));
  };
  await withGateway({}, async (gateway, fresh) => {
    assert.deepEqual(await tried(gateway), [false, false, false, false]);
    const { page, context } = await fresh();
    await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
    await page.goto(`${gateway.base}/servers`);
    await page.getByRole('heading', { name: 'Servers' }).waitFor();
  });
  await withGateway({ env: { MLX_MANAGER_API_KEY: 'sk-of-the-environment' } }, async (gateway, fresh) => {
    assert.deepEqual(await tried(gateway), [true, true, true, true]);
    assert.deepEqual(await tried(gateway, { authorization: 'Bearer sk-of-the-environment' }), [false, false, false, false]);
    const { page } = await fresh();
    await page.goto(`${gateway.base}/servers`);
    await page.waitForURL('**/login?next=%2Fservers');
  });
});

test('B AUTH-03: a session lasts seven days, in a cookie that no script can read', () =>
  withGateway({}, async (gateway, fresh) => {
    await gateway.api('POST', '/api/v1/auth/register', ADA);
    const { page, context } = await fresh();
    await page.goto(`${gateway.base}/login`);
    await fill(page, ADA);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    const cookie = (await context.cookies()).find(({ name }) => name === 'mlx_gateway_session');
    const days = (cookie.expires * 1000 - Date.now()) / 86_400_000;
    assert.ok(days > 6.9 && days <= 7.01, `${days} days`);
    assert.ok(cookie.httpOnly);
    assert.doesNotMatch(await page.evaluate(() => document.cookie), /session/);
  }));

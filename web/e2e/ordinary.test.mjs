// Every screen as those see it who administer nothing: an approved account, and sessions of keys.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { administrator, approved, as, openAs, traded } from './lib/accounts.mjs';
import { launch } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { faults, loaded, NAVIGATION, SCREENS } from './lib/screens.mjs';
import { until } from './lib/until.mjs';

const FORBIDDEN = /^(This needs an administrator|Your API key does not allow this)$/;
const forbidden = (page) => page.getByRole('heading', { level: 1, name: FORBIDDEN });
const menu = (page) => page.locator('#nav a').evaluateAll((links) => links.map((link) => link.getAttribute('href')));

let browser;
let gateway;
let admin;
let ordinary;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start();
  admin = await administrator(gateway);
  ordinary = await approved(gateway, admin);
  await gateway.askAs(ordinary, 'qwen', '#chunks=12 hello');
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** Looks at every screen; gives what is wrong, and which of the navigation are there. */
async function lookAround(token, { axe = false, ...options }) {
  const { context, page, said, refused } = await openAs(browser, gateway, token, options);
  const found = [];
  const works = [];
  let shown = [];
  for (const path of SCREENS) {
    await page.goto(gateway.base + path);
    await loaded(page, path);
    if (NAVIGATION.includes(path)) shown = await menu(page);
    if ((await forbidden(page).count()) === 0 && NAVIGATION.includes(path)) works.push(path);
    if (axe) found.push(...(await faults(page, path)));
    found.push(...[...said.splice(0), ...refused.splice(0)].map((line) => `${path}: ${line}`));
  }
  await context.close();
  return { found, works, shown };
}

for (const [theme, width] of [
  ['light', 1280],
  ['dark', 360],
]) {
  test(`an ordinary account: no screen fails, asks for what it may not have, or has faults that axe finds; ${theme}, ${width}`, async () => {
    const { found, works, shown } = await lookAround(ordinary, { axe: true, theme, width });
    assert.deepEqual(found, []);
    assert.deepEqual(works, ['/', '/chat', '/usage', '/requests', '/keys']);
    assert.deepEqual(shown, works);
  });
}

test('the session of a key: the navigation has what the key allows, and nothing is asked for that it does not', async () => {
  const make = async (wish) => traded(gateway, (await gateway.api('POST', '/api/v1/keys', wish, as(admin))).key);
  for (const [wish, expected] of [
    [{ name: 'one', scopes: ['inference'], profiles: ['gemma'] }, ['/', '/chat']],
    [
      { name: 'reader', scopes: ['admin-read'] },
      ['/', '/models', '/servers', '/profiles', '/usage', '/requests', '/plugins', '/keys', '/settings'],
    ],
  ]) {
    const { found, works, shown } = await lookAround(await make(wish), {});
    assert.deepEqual(found, [], wish.name);
    assert.deepEqual(works, expected, wish.name);
    assert.deepEqual(shown, works, wish.name);
  }
});

test('an ordinary account chats: it sees its models and their states live, and its conversations and requests are there', async () => {
  const { context, page, said, refused } = await openAs(browser, gateway, ordinary);
  await page.goto(`${gateway.base}/`);
  const models = page.getByRole('region', { name: 'Models you can use' });
  const gemma = models.getByRole('link', { name: 'gemma' });
  await gemma.getByText('Stopped').waitFor();
  await page.getByRole('region', { name: 'curl' }).getByText('"qwen"').waitFor();
  await gateway.api('POST', '/api/v1/servers/gemma/start?wait=true', undefined, as(admin));
  await gemma.getByText('Running').waitFor();

  await gemma.click();
  await page.waitForURL('**/chat?profile=gemma');
  await page.getByRole('banner').or(page.locator('.chat header')).getByText('ready').first().waitFor();
  await page.getByRole('combobox', { name: 'Profile' }).click();
  assert.ok((await page.getByRole('listbox').getByRole('option').allInnerTexts()).some((text) => text.startsWith('qwen')));
  await page.keyboard.press('Escape');
  const box = page.getByRole('textbox', { name: 'Message gemma' });
  await box.fill('#chunks=400 #interval-us=5000 hello');
  await page.keyboard.press('Enter');
  const answer = page.getByRole('log').getByRole('article', { name: 'gemma' });
  await answer.getByText('w0 w1').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Stop' }).isVisible(), 'it streams');
  await answer.getByText(/first token/).waitFor();
  await page.waitForURL(/\/chat\/[^/?]+/);
  await page.reload();
  await page.getByRole('log').getByText('w0 w1').waitFor();
  await page.getByRole('complementary', { name: 'Conversations' }).getByText('#chunks=400').waitFor();
  await answer.getByRole('link', { name: 'Request' }).click();
  await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  await loaded(page, 'its request');

  // A profile that is made is there at once, and goes when it is removed.
  await page.goto(`${gateway.base}/`);
  await models.getByRole('link', { name: 'gemma' }).waitFor();
  await gateway.api('POST', '/api/v1/profiles', { name: 'made', model: 'builtin:demo' }, as(admin));
  await models.getByRole('link', { name: 'made' }).waitFor();
  await gateway.api('DELETE', '/api/v1/profiles/made', undefined, as(admin));
  await models.getByRole('link', { name: 'made' }).waitFor({ state: 'detached' });
  assert.deepEqual([...said, ...refused], []);
  await context.close();
});

test('the session of a key for one profile chats with that one, and keeps nothing', async () => {
  const { key } = await gateway.api('POST', '/api/v1/keys', { name: 'chat', scopes: ['inference'], profiles: ['gemma'] }, as(admin));
  const { context, page, said, refused } = await openAs(browser, gateway, await traded(gateway, key));
  await page.goto(`${gateway.base}/chat`);
  await page.getByRole('textbox', { name: 'Message gemma' }).fill('#chunks=6 hello');
  await page.keyboard.press('Enter');
  await page.getByRole('log').getByText('w0 w1').waitFor();
  await page.getByText(/first token/).waitFor();
  await page.getByRole('combobox', { name: 'Profile' }).click();
  assert.deepEqual(
    (await page.getByRole('listbox').getByRole('option').allInnerTexts()).map((text) => text.split('\n')[0]),
    ['gemma'],
  );
  assert.deepEqual([...said, ...refused], []);
  await context.close();
});

test('whatever is refused says why, and no skeleton stays', async () => {
  const error = { message: 'refused in a test', type: 'permission_error', code: 'permission_denied' };
  const { context, page } = await openAs(browser, gateway, ordinary);
  await page.route(/\/(api\/)?v1\//, (route) => {
    const { pathname } = new URL(route.request().url());
    if (['/api/v1/auth/state', '/api/v1/events'].includes(pathname)) return route.continue();
    return route.fulfill({ status: 403, json: { error } });
  });
  for (const path of ['/', '/chat', '/usage', '/requests', '/keys']) {
    await page.goto(gateway.base + path);
    await page
      .getByText(/This needs an administrator|refused in a test/)
      .first()
      .waitFor();
    await until(async () => (await page.locator('.bone').count()) === 0, `${path} says why`);
  }
  await context.close();
});

test("an ordinary account: Requests and Home follow what its API keys ask for, and nobody else's", async () => {
  const { key } = await gateway.api('POST', '/api/v1/keys', { name: 'script' }, as(ordinary));
  const { context, page } = await openAs(browser, gateway, ordinary);
  const rows = page.getByRole('row');
  await page.goto(`${gateway.base}/requests`);
  await rows.nth(1).waitFor();
  const before = await rows.count();
  await gateway.askAs(admin, 'qwen', '#chunks=1 not theirs');
  await gateway.askAs(key, 'qwen', '#chunks=1 by key');
  await until(async () => (await rows.count()) > before, 'the request is listed without a reload');
  assert.equal(await rows.count(), before + 1);
  await page.goto(`${gateway.base}/`);
  const recent = page.getByRole('region', { name: 'Latest requests' });
  const link = recent.locator('tbody').getByRole('link').first();
  await link.waitFor();
  const newest = () => link.getAttribute('href');
  const shown = await newest();
  await gateway.askAs(key, 'qwen', '#chunks=1 by key again');
  await until(async () => (await newest()) !== shown, 'the newest request is on the home page');
  await context.close();
});

// The first account of a gateway that is not open, and what the settings say of access.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';

const KEY = 'sk-of-the-environment';
const ADA = { email: 'ada@example.com', password: 'correct horse battery' };
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

async function withPage(options, work) {
  const gateway = await Gateway.start(options);
  const { page, context } = await open(browser, gateway.base);
  try {
    await work(gateway, page);
  } finally {
    await context.close();
    await gateway.stop();
  }
}

async function register(page) {
  await page.getByLabel('Email').fill(ADA.email);
  await page.getByLabel('Password').fill(ADA.password);
  await page.getByRole('button', { name: 'Create account' }).click();
}

/** The access that the settings page shows. */
async function access(gateway, page) {
  await page.goto(`${gateway.base}/settings`);
  return page.locator('dt', { hasText: 'Access' }).locator('+ dd').innerText();
}

test('the first account of a gateway with a key needs the set-up link', () =>
  withPage({ env: { MLX_GATEWAY_API_KEY: KEY } }, async (gateway, page) => {
    await page.goto(`${gateway.base}/setup`);
    await page.getByText('Here the first account needs the set-up link.').waitFor();
    await register(page);
    await page.getByText('the first account is the administrator').waitFor();
    const link = /http:\S+\/setup\?token=\S+/.exec(gateway.log)[0];
    await page.goto(link);
    assert.equal(await page.getByText('Here the first account needs the set-up link.').count(), 0);
    await register(page);
    await page.getByRole('heading', { name: 'Doctor' }).waitFor();
    assert.match(await access(gateway, page), /An API key is required, since MLX_GATEWAY_API_KEY is set/);
  }));

test('the key of the environment makes the first account without the link', () =>
  withPage({ env: { MLX_GATEWAY_API_KEY: KEY } }, async (gateway, page) => {
    await page.goto(`${gateway.base}/login?with=key`);
    await page.locator('input[type=password]').fill(KEY);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    await page.goto(`${gateway.base}/setup`);
    await register(page);
    await page.getByRole('heading', { name: 'Doctor' }).waitFor();
    await page.goto(`${gateway.base}/users`);
    await page.getByText(ADA.email).first().waitFor();
  }));

test('the settings say whether a key is required now', () =>
  withPage({}, async (gateway, page) => {
    await page.context().addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
    assert.match(await access(gateway, page), /On this machine no API key is required, since there is neither a key nor an account/);
    await gateway.api('POST', '/api/v1/auth/register', ADA);
    await page.goto(`${gateway.base}/login`);
    await page.getByLabel('Email').fill(ADA.email);
    await page.getByLabel('Password').fill(ADA.password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    assert.match(await access(gateway, page), /An API key is required, since an account was made/);
  }));

test('once there is an administrator, set-up sends visitors to log in and ordinary accounts home', () =>
  withPage({}, async (gateway, page) => {
    const admin = { authorization: `Bearer ${(await gateway.api('POST', '/api/v1/auth/register', ADA)).token}` };
    await page.goto(`${gateway.base}/setup`);
    await page.getByText('The administrator account exists.').waitFor();
    assert.equal(await page.getByLabel('Email').count(), 0);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL(`${gateway.base}/login`);

    const bob = { email: 'bob@example.com', password: 'battery horse correct' };
    const { user } = await gateway.api('POST', '/api/v1/auth/register', bob);
    await gateway.api('POST', `/api/v1/users/${user.id}/approve`, undefined, admin);
    await page.getByLabel('Email').fill(bob.email);
    await page.getByLabel('Password').fill(bob.password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    const refused = [];
    page.on('response', (response) => response.status() >= 400 && refused.push(response.url()));
    await page.goto(`${gateway.base}/setup?step=profile`);
    await page.getByText('This needs an administrator').waitFor();
    assert.deepEqual(refused, []);
  }));

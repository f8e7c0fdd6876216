// The whole way behind a reverse proxy: a fresh gateway with an operator's key, its first administrator, a second
// account, and that one's first chat.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { loaded } from './lib/screens.mjs';
import { Nginx } from './lib/nginx.mjs';
import { until } from './lib/until.mjs';

const ADA = { email: 'ada@example.com', password: 'correct horse battery' };
const LINUS = { email: 'linus@example.com', password: 'staple of the north' };
const OPERATOR = 'sk-of-the-operator';
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

async function behindNginx(options, work) {
  const gateway = await Gateway.start(options);
  let nginx;
  const pages = [];
  try {
    nginx = await Nginx.start(gateway.base);
    const fresh = async () => {
      const opened = await open(browser, nginx.base);
      const refused = [];
      opened.page.on('response', (response) => {
        if (response.status() >= 400) refused.push(`${response.status()} ${new URL(response.url()).pathname}`);
      });
      pages.push(opened.context);
      return { ...opened, refused };
    };
    await work({ gateway, nginx, fresh });
  } finally {
    for (const context of pages) await context.close();
    await nginx?.stop();
    await gateway.stop();
  }
}

/** Asks for the first account without any proof. */
async function registered(base, headers = {}) {
  const response = await fetch(`${base}/api/v1/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(LINUS),
  });
  return [response.status, (await response.json()).error?.code];
}

async function fill(page, { email, password }) {
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password').fill(password);
}

const menu = (page) => page.locator('#nav a').evaluateAll((links) => links.map((link) => link.getAttribute('href')));

test('behind nginx, with an operator’s key: the set-up link makes the administrator, who lets a second account in, which chats', () =>
  behindNginx(
    {
      env: { MLX_GATEWAY_API_KEY: OPERATOR },
      server: 'trusted_proxies = ["127.0.0.1"]',
      sections: '[auth]\napi = "required"\n',
    },
    async ({ gateway, nginx, fresh }) => {
      // Without proof nobody becomes the administrator: neither through nginx nor from this machine.
      assert.deepEqual(await registered(nginx.base), [401, 'setup_link_required']);
      assert.deepEqual(await registered(gateway.base), [401, 'setup_link_required']);

      await until(() => /setup\?token=/.test(gateway.log), 'the set-up link is printed');
      const [, token] = /setup\?token=([\w.-]+)/.exec(gateway.log);
      const { page: ada, said: byAda, refused: ofAda } = await fresh();
      await ada.goto(`${nginx.base}/setup?token=${token}`);
      await fill(ada, ADA);
      await ada.getByRole('button', { name: 'Create account' }).click();
      await ada.getByRole('heading', { name: 'Doctor' }).waitFor();
      await ada.getByRole('button', { name: 'Skip the set-up' }).click();
      await ada.getByRole('heading', { name: 'Home' }).waitFor();

      const { page: linus, said: byLinus, refused: ofLinus } = await fresh();
      await linus.goto(`${nginx.base}/`);
      await linus.waitForURL('**/login*');
      await linus.getByRole('button', { name: 'Create an account' }).click();
      await fill(linus, LINUS);
      await linus.getByRole('button', { name: 'Ask for an account' }).click();
      await linus.getByText('Your request was sent').waitFor();
      await fill(linus, LINUS);
      await linus.getByRole('button', { name: 'Log in' }).click();
      await linus.getByText('waiting for approval').waitFor();
      assert.deepEqual(ofLinus.splice(0), ['403 /api/v1/auth/login']);

      // The event stream of the administrator comes through nginx as well.
      await ada.getByTestId('pending-badge').getByText('1').waitFor();
      await ada
        .getByRole('link', { name: /^Users/ })
        .first()
        .click();
      await ada.getByRole('button', { name: 'Approve' }).click();
      await ada.getByText('may log in now').waitFor();

      await linus.getByRole('button', { name: 'Log in' }).click();
      await linus.getByRole('heading', { name: 'Home' }).waitFor();
      assert.deepEqual(await menu(linus), ['/', '/chat', '/usage', '/requests', '/keys']);
      await linus.getByRole('region', { name: 'Models you can use' }).getByRole('link', { name: 'gemma' }).click();
      await linus.getByRole('textbox', { name: 'Message gemma' }).fill('#chunks=40 hello');
      await linus.keyboard.press('Enter');
      await linus.getByRole('log').getByRole('article', { name: 'gemma' }).getByText('w0 w1').waitFor();
      await linus.getByText(/first token/).waitFor();
      for (const path of ['/servers', '/users', '/settings']) {
        await linus.goto(nginx.base + path);
        await linus.getByRole('heading', { level: 1, name: 'This needs an administrator' }).waitFor();
        await loaded(linus, path);
      }
      assert.deepEqual([...byAda, ...byLinus, ...ofAda, ...ofLinus], []);
    },
  ));

test('behind nginx that the gateway does not trust, a fresh gateway is open to nobody', () =>
  behindNginx({}, async ({ gateway, nginx, fresh }) => {
    assert.deepEqual(await registered(nginx.base), [401, 'setup_link_required']);
    assert.equal((await fetch(`${nginx.base}/v1/models`)).status, 401);
    const { page } = await fresh();
    await page.goto(`${nginx.base}/servers`);
    await page.waitForURL(/\/(login|setup)/);
    // On this machine it is what it was.
    assert.equal((await fetch(`${gateway.base}/v1/models`)).status, 200);
    assert.equal((await registered(gateway.base))[0], 201);
  }));

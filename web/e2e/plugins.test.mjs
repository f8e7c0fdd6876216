// The plugin screen with real plugins: what waits for permission, what an upgrade asks for besides, a tool that
// is tried, and who may use it.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';

const COMPONENT = resolve('../tests/plugins/test_tools/test_tools.wasm');
const FIRST = 'https://api.example.com';
const SECOND = 'https://more.example.com';

let browser;
let gateway;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start({ sections: '[[profile]]\nname = "counts"\nmodel = "./model"\ntools = ["calculator"]\n' });
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** Puts the plugin there, or a new version of it, that asks for these servers. */
function put(...servers) {
  const folder = join(gateway.folder, 'plugins', 'test_tools');
  mkdirSync(folder, { recursive: true });
  copyFileSync(COMPONENT, join(folder, 'test_tools.wasm'));
  writeFileSync(join(folder, 'new.toml'), `name = "test_tools"\n[permissions]\nhttp = ${JSON.stringify(servers)}\n`);
  renameSync(join(folder, 'new.toml'), join(folder, 'plugin.toml'));
}

test('a plugin is granted what it asks for, and asked about again when it wants more', async () => {
  const { context, page, said } = await open(browser, gateway.base);
  await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
  await page.goto(`${gateway.base}/plugins`);
  put(FIRST);
  const card = page.getByRole('article', { name: 'test_tools', exact: true });
  const ask = card.getByRole('button', { name: 'Grant permissions' });
  const dialog = page.getByRole('dialog');
  await ask.click();
  await dialog.getByText(FIRST).waitFor();
  assert.equal(await dialog.getByText('granted these before').count(), 0);
  await dialog.getByRole('button', { name: 'Grant permissions' }).click();
  await card.getByText('Ready').waitFor();
  assert.deepEqual((await gateway.api('GET', '/api/v1/plugins/test_tools')).granted.http, [FIRST]);
  put(FIRST, SECOND);
  await ask.click();
  await dialog.getByText(SECOND).waitFor();
  await dialog.getByText('granted these before').waitFor();
  assert.deepEqual(await dialog.getByRole('listitem').allInnerTexts(), [SECOND, FIRST]);
  await dialog.getByRole('button', { name: 'Grant permissions' }).click();
  await card.getByText('Ready').waitFor();
  assert.deepEqual(said, []);
  await context.close();
});

test('a tool is tried with a form made from its schema, and says who may use it', async () => {
  const { context, page, said } = await open(browser, gateway.base);
  await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
  await page.goto(`${gateway.base}/plugins`);
  const card = page.getByRole('article', { name: 'calculator', exact: true });
  await card.getByText('counts', { exact: true }).waitFor();
  await card.locator('summary', { hasText: 'calculator' }).click();
  await card.getByLabel('expression').fill('0.1 + 0.2');
  await card.getByRole('button', { name: 'Run' }).click();
  await card.getByText('0.3', { exact: true }).waitFor();
  await page.getByText('/mcp').first().waitFor();
  assert.deepEqual(said, []);
  await context.close();
});

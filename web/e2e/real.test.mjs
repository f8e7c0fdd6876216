// From a model on the hub to its answer, with the real engine: what somebody does on the first day.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './lib/browser.mjs';
import { copyDemoModel, Gateway } from './lib/gateway.mjs';
import { Hub } from './lib/hub.mjs';
import { until } from './lib/until.mjs';
import { start, tile, visit as visitAt } from './lib/visit.mjs';

const ANSWER = 'Hello! This tiny model runs on the real backend and always says exactly these words.';
const DEMO = '[[profile]]\nname = "demo"\nmodel = "builtin:demo"\n';
/** The first run installs the engine. */
const INSTALL_MS = 15 * 60_000;

let browser;
let gateway;
let hub;
before(async () => {
  browser = await launch();
  hub = await Hub.start();
  gateway = await Gateway.start({ profiles: false, real: true, sections: DEMO, env: { HF_ENDPOINT: hub.base } });
  assert.match(await gateway.ask('demo', 'hi', AbortSignal.timeout(INSTALL_MS)), /"content"/);
  mkdirSync(join(hub.folder, 'tiny-org'));
  const at = join(hub.folder, 'tiny-org/Tiny-4bit');
  copyDemoModel(at);
  writeFileSync(
    join(at, '.hub.json'),
    JSON.stringify({ downloads: 5, tags: ['mlx'], library_name: 'mlx', pipeline_tag: 'text-generation' }),
  );
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
  await hub?.stop();
});

const visit = (path, work, options) => visitAt(browser, gateway, path, work, options);

test('a model is found, downloaded, made a profile, started and asked', () =>
  visit('/models?tab=hub', async (page) => {
    await page.getByRole('searchbox').fill('tiny');
    await tile(page, 'tiny-org/Tiny-4bit').getByRole('button', { name: 'Download' }).click();
    await until(
      async () => (await gateway.api('GET', '/api/v1/downloads')).downloads.some((one) => one.status === 'completed'),
      'it is downloaded',
    );
    await page.getByRole('tab', { name: /Downloaded/ }).click();
    await tile(page, 'tiny-org/Tiny-4bit').getByRole('link', { name: 'Create profile' }).click();
    await page.getByRole('button', { name: 'Create' }).click();
    await page.waitForURL('**/profiles/tiny-4bit');

    await page.getByRole('link', { name: 'Servers' }).click();
    await start(page, 'tiny-4bit');
    const server = tile(page, 'tiny-4bit');
    await server.getByText('Running').waitFor({ timeout: INSTALL_MS });
    await server.getByRole('link', { name: 'Chat' }).click();
    await page.getByRole('textbox', { name: 'Message tiny-4bit' }).fill('hi');
    await page.keyboard.press('Enter');
    const answer = page.getByRole('log').getByRole('article', { name: 'tiny-4bit' });
    await answer.getByText(ANSWER).waitFor();
    await answer.getByText(/Tokens\/s/).waitFor();
    await answer.getByText('29 tokens').waitFor();
    // CHAT-01: it thought first, and that is folded away.
    await answer.getByText(/Thought for/).click();
    await answer.getByText('They greet me, so I reply politely now').waitFor();
  }));

test('SERVER-02, BUGFIX-07: a real backend shows its memory, its processor time and its total', () =>
  visit('/servers', async (page) => {
    const server = tile(page, 'demo');
    await server.getByText('Running').waitFor();
    await until(async () => /MB|GB/.test(await server.getByRole('meter', { name: 'Memory' }).innerText()), 'its memory');
    await until(async () => /\d %/.test(await server.getByRole('meter', { name: 'CPU' }).innerText()), 'its processor time');
    const asked = gateway.ask('demo', 'hi');
    await asked;
    await until(async () => Number(await server.locator('dd').nth(1).innerText()) >= 58, 'two answers of 29 tokens');
    // A pinned one is not counted down.
    await server
      .getByText(/^\d+ (min|s)|^[\d.]+ s/)
      .first()
      .waitFor();
    await server.getByRole('button', { name: 'Keep loaded: demo' }).click();
    await server.getByText('Stays loaded').waitFor();
    await server.getByRole('button', { name: 'Let go: demo' }).click();
    await server.getByText('Stays loaded').waitFor({ state: 'detached' });
  }));

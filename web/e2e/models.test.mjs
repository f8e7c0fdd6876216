// Models, by requirement id: the gateway's Hub client against a hub of the test's own, seen in a browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { Hub } from './lib/hub.mjs';
import { until } from './lib/until.mjs';
import { tile, visit as visitAt } from './lib/visit.mjs';

const SMALL = 'mlx-community/Qwen3-4B-4bit';
const LARGE = 'mlx-community/Qwen3-8B-4bit';
const VISION = 'mlx-community/gemma-3-4b-it-4bit';

let browser;
let gateway;
let hub;
before(async () => {
  browser = await launch();
  hub = await Hub.start();
  gateway = await Gateway.start({ profiles: false, env: { HF_ENDPOINT: hub.base } });
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
  await hub?.stop();
});

const visit = (path, work, options) => visitAt(browser, gateway, path, work, options);
const names = (page) => page.locator('article[data-model]').evaluateAll((all) => all.map((one) => one.dataset.model).sort());

async function fetched(model) {
  const { id } = await gateway.api('POST', '/api/v1/downloads', { model });
  await until(async () => (await gateway.api('GET', `/api/v1/downloads/${id}`)).status === 'completed', `${model} is fetched`);
}

test('DISC-01, DISC-02, DISC-04: a hit of the Hub shows what its files tell, as badges', () =>
  visit('/models?tab=hub', async (page) => {
    await page.getByRole('searchbox').fill('qwen3');
    const qwen = tile(page, SMALL);
    for (const badge of ['qwen3', '4-bit', 'Text', 'Tool use', 'Thinking']) await qwen.getByText(badge, { exact: true }).waitFor();
    assert.match(await qwen.innerText(), /40k context/);
    assert.match(await qwen.innerText(), /147 kB KV cache per token/);
    assert.match(await qwen.innerText(), /184K downloads/);
    await page.getByRole('searchbox').fill('gemma');
    await tile(page, VISION).getByText('Multimodal', { exact: true }).waitFor();
    await tile(page, SMALL).waitFor({ state: 'detached' });
    await until(() => /q=gemma/.test(page.url()), 'the search stands in the address');
  }));

test('DISC-03: hits of the Hub are filtered by what they can', () =>
  visit('/models?tab=hub&q=mlx-community', async (page) => {
    await until(async () => (await names(page)).length === 4, 'four hits');
    await page.getByLabel('Architecture').selectOption('qwen3_moe');
    await until(async () => (await names(page)).join() === 'mlx-community/Qwen3-30B-A3B-4bit', 'one architecture');
    await page.getByLabel('Architecture').selectOption('');
    await page.getByRole('button', { name: 'Thinking' }).click();
    await until(async () => !(await names(page)).includes(VISION) && (await names(page)).length === 3, 'those that think');
    await page.getByRole('button', { name: 'Thinking' }).click();
    await page.getByLabel('Text / Multimodal').selectOption('multimodal');
    await until(async () => (await names(page)).join() === VISION, 'those that see');
  }));

test("MODELS-02, MODELS-03: the model's tile goes, and a download tile stands at the top, the only one with a bar", async () => {
  await hub.faults([{ path: '/cdn/', hold_after: 300_000 }]);
  await visit('/models?tab=hub&q=qwen3', async (page) => {
    await tile(page, SMALL).getByRole('button', { name: 'Download' }).click();
    const download = tile(page, `Download ${SMALL}`);
    await download.getByRole('meter').waitFor();
    await tile(page, SMALL).waitFor({ state: 'detached' });
    const tops = await page
      .locator('main article')
      .evaluateAll((all) => all.map((one) => [one.getBoundingClientRect().top, one.dataset.download ?? one.dataset.model]));
    assert.equal(tops.toSorted(([a], [b]) => a - b)[0][1], SMALL);
    assert.equal(await page.locator('article[data-model] [role=meter], article[data-model] progress').count(), 0);

    await download.getByRole('button', { name: 'Pause' }).click();
    await download.getByText('Paused').waitFor();
    await hub.faults([{ path: '/cdn/', corrupt: true }]);
    await download.getByRole('button', { name: 'Resume' }).click();
    // It stays with its reason until somebody does something about it.
    await download.getByText('Failed', { exact: true }).waitFor();
    await download.getByText(/the hub promised/).waitFor();
    await page.reload();
    await download.getByText(/the hub promised/).waitFor();
    await hub.faults([]);
    await download.getByRole('button', { name: 'Retry' }).click();
    await download.waitFor({ state: 'detached' });
    await page.getByRole('tab', { name: /Downloaded/ }).click();
    await tile(page, SMALL).waitFor();
  });
});

test('DISC-03: models on this machine are searched and filtered alike', async () => {
  await hub.faults([]);
  await fetched(SMALL);
  await fetched(VISION);
  await visit('/models', async (page) => {
    await until(async () => (await names(page)).length === 2, 'two models');
    await page.getByRole('searchbox').fill('gemma');
    await until(async () => (await names(page)).join() === VISION, 'one by its name');
    await page.getByRole('searchbox').fill('');
    await page.getByRole('button', { name: 'Tool use' }).click();
    await until(async () => (await names(page)).join() === SMALL, 'one by what it can');
    // The address holds the state.
    await page.reload();
    await until(async () => (await names(page)).join() === SMALL, 'the filter is kept');
  });
});

test('MODELS-01: search and filters stay at the top while the list scrolls beneath them', () =>
  visit(
    '/models?tab=hub&q=mlx-community',
    async (page) => {
      await until(async () => (await names(page)).length === 4, 'four hits');
      await page.mouse.move(300, 400);
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      await until(() => page.evaluate(() => scrollY > 60), 'it is scrolled');
      const box = await page.getByRole('searchbox').boundingBox();
      assert.ok(box.y >= 0 && box.y < 80, `the search stands at ${box.y}`);
      // What is seen there is the search, not a tile over it.
      assert.ok(await page.evaluate(({ x, y }) => document.elementFromPoint(x + 20, y + 10)?.matches('input[type=search]'), box));
      const chip = await page.getByRole('button', { name: 'Thinking' }).boundingBox();
      assert.ok(chip.y >= 0 && chip.y < 160, `the filters stand at ${chip.y}`);
    },
    { height: 420, width: 800 },
  ));

test('what the authors wrote about a model is rendered, and nothing in it runs or is fetched', () =>
  visit('/models?tab=hub&q=qwen3', async (page) => {
    await page.evaluate(() => (window.owned = 0));
    await tile(page, LARGE).getByRole('button', { name: 'Qwen3-8B-4bit', exact: true }).click();
    const about = page.getByRole('dialog').getByRole('region', { name: 'About' });
    await about.getByRole('heading', { name: 'Qwen3-8B-4bit' }).waitFor();
    await about.getByRole('cell', { name: '64' }).waitFor();
    assert.doesNotMatch(await about.innerText(), /license: apache|onerror/);
    assert.equal(await about.getByRole('link', { name: 'the paper' }).getAttribute('rel'), 'noopener noreferrer nofollow');
    assert.equal(await about.locator('img, script').count(), 0);
    assert.equal(await page.evaluate(() => window.owned), 0);
    // Each fact says where it was found.
    await page
      .getByRole('dialog')
      .getByText('chat template', { exact: false })
      .first()
      .or(page.getByRole('dialog').getByText('config.json').first())
      .first()
      .waitFor();
  }));

test('a hub that cannot be asked is told with a way to try again', async () => {
  await hub.faults([{ path: '/api/models', status: 429, retry_after: 60 }]);
  await visit('/models?tab=hub&q=phi', async (page) => {
    await page.getByRole('alert').getByRole('button', { name: 'Try again' }).waitFor();
    await hub.faults([]);
    await page.getByRole('alert').getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('heading', { name: 'Nothing matches' }).waitFor();
  });
});

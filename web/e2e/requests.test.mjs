// Requests: what one said is captured, looked at, asked again and taken along; tool calls stand in its timeline.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launch } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { until } from './lib/until.mjs';
import { visit as visitAt } from './lib/visit.mjs';

const TOOL = '#tool #call=calculator #args={"expression":"6*7"}';
let browser;
let gateway;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start();
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const visit = (path, work, options) => visitAt(browser, gateway, path, work, options);
const said = (page) => page.getByRole('region', { name: 'What was said' });
const capture = (change) => gateway.api('PUT', '/api/v1/captures', change);

/** Asks, and gives the record's id once the request has ended. */
async function asked(words, headers = {}, of = gateway, { path = '/v1/chat/completions', body = { stream: true } } = {}) {
  const said = path.endsWith('/responses') ? { input: words } : { messages: [{ role: 'user', content: words }] };
  const response = await fetch(`${of.base}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'gemma', ...said, ...body }),
  });
  await response.text();
  const id = response.headers.get('x-request-id');
  await until(async () => (await of.api('GET', `/api/v1/requests/${id}`, undefined, of.as)).status !== 'running', 'the request has ended');
  return id;
}

/** What stands in the clipboard after a copy: the page's own way of copying needs no permission to read. */
async function copied(page, press) {
  await page.evaluate(() => {
    document.execCommand = () => {
      window.copied = document.activeElement.value;
      return true;
    };
  });
  await press();
  await page.waitForFunction(() => window.copied !== undefined);
  return page.evaluate(() => window.copied);
}

test('captures are off at first, switched on for a while by an administrator, and off again by one click', () =>
  visit('/requests', async (page) => {
    await page.getByRole('button', { name: 'Capture requests' }).click();
    const dialog = page.getByRole('dialog', { name: 'Capture requests?' });
    await dialog.getByLabel('Switch off after').selectOption('15');
    await dialog.getByLabel('Delete after').selectOption('1');
    await dialog.getByRole('button', { name: 'Capture requests' }).click();
    await page.getByText(/Capturing until \d/).waitFor();
    const on = await gateway.api('GET', '/api/v1/captures');
    assert.ok(on.until_ms - Date.now() > 10 * 60_000 && on.until_ms - Date.now() <= 15 * 60_000, JSON.stringify(on));
    assert.equal(on.retention_days, 1);
    await page.getByRole('button', { name: 'Stop capturing' }).click();
    await page.getByRole('button', { name: 'Capture requests' }).waitFor();
    assert.equal((await gateway.api('GET', '/api/v1/captures')).until_ms, null);
  }));

test('a request without a capture says why there is none', async () => {
  await capture({ on: false });
  const id = await asked('#chunks=2 quiet');
  await visit(`/requests/${id}`, async (page) => {
    await said(page)
      .getByText(/Captures were off when this request began/)
      .waitFor();
    assert.equal(await page.getByRole('button', { name: 'Replay' }).count(), 0);
  });
});

test('what was captured is shown as a chat, laid out and raw', async () => {
  await capture({ on: true });
  const id = await asked('#think=3 #text=It_is_**bold**.');
  await visit(`/requests/${id}`, async (page) => {
    const panel = said(page).getByRole('tabpanel');
    await panel.getByText('User', { exact: true }).waitFor();
    assert.equal(await panel.locator('strong').innerText(), 'bold');
    await panel.getByText('Thinking').click();
    await panel.getByText('t0 t1 t2').waitFor();
    await said(page).getByRole('tab', { name: 'Pretty' }).click();
    assert.match(await panel.getByRole('region', { name: /^POST/ }).innerText(), /"messages": \[\n/);
    await said(page).getByRole('tab', { name: 'Raw' }).click();
    assert.match(await panel.getByRole('region', { name: /^Answer 200/ }).innerText(), /data: \{.*\}\n\ndata: \[DONE\]/s);
    assert.match(await panel.getByRole('region', { name: 'Headers' }).innerText(), /content-type: application\/json/);
  });
});

test('a response is captured and shown like a chat, streamed or not', async () => {
  await capture({ on: true });
  for (const stream of [false, true]) {
    const id = await asked('#text=It_is_**bold**.', {}, gateway, { path: '/v1/responses', body: { stream } });
    await visit(`/requests/${id}`, async (page) => {
      const panel = said(page).getByRole('tabpanel');
      await panel.getByText('User', { exact: true }).waitFor();
      assert.equal(await panel.locator('strong').innerText(), 'bold');
      await said(page).getByRole('tab', { name: 'Raw' }).click();
      const answer = await panel.getByRole('region', { name: /^Answer 200/ }).innerText();
      assert.match(answer, stream ? /event: response\.completed\n/ : /"object":"response"/);
    });
  }
});

test('a request is shown although the numbers of its attempts repeat', async () => {
  const id = await asked('#chunks=1');
  await visit('/requests', async (page) => {
    await page.route(`**/api/v1/requests/${id}`, async (route) => {
      const answer = await route.fetch();
      const record = await answer.json();
      const attempt = (number) => ({ ...record.attempts[0], number, backend: `backend-${number}` });
      await route.fulfill({ response: answer, json: { ...record, attempts: [0, 1, 1, 2].map(attempt) } });
    });
    await page.goto(`${gateway.base}/requests/${id}`);
    await page.getByText('backend-2').waitFor();
    assert.equal(await page.getByText('backend-1').count(), 2);
  });
});

test('a captured request is replayed, and its answer is shown with a link to its own record', async () => {
  await capture({ on: true });
  const id = await asked('#text=The_same_again.');
  await visit(`/requests/${id}`, async (page) => {
    await said(page).getByRole('button', { name: 'Replay' }).click();
    const answer = page.getByRole('region', { name: 'The answer to the replay' });
    await answer.getByText('The same again.').waitFor();
    await answer.getByRole('link', { name: 'Request' }).click();
    await page.waitForURL((url) => /\/requests\/./.test(url.pathname) && !url.pathname.endsWith(id));
    await said(page).getByText('The same again.').first().waitFor();
  });
});

test('the copied curl command works as it stands and holds no secret', async () => {
  const other = await Gateway.start();
  try {
    const { token } = await other.api('POST', '/api/v1/auth/register', { email: 'ada@example.com', password: 'correct horse battery' });
    other.as = { authorization: `Bearer ${token}` };
    await other.api('PUT', '/api/v1/captures', { on: true }, other.as);
    const { key: made } = await other.api('POST', '/api/v1/keys', { name: 'k' }, other.as);
    const id = await asked('it\'s $HOME `x` "q" #text=The_same_by_hand.', { authorization: `Bearer ${made}` }, other);
    await visitAt(browser, other, '/login', async (page, context) => {
      await context.addCookies([{ name: 'mlx_gateway_session', value: token, url: other.base }]);
      await page.goto(`${other.base}/requests/${id}`);
      await said(page).getByText('The same by hand.').first().waitFor();
      const command = await copied(page, () => said(page).getByRole('button', { name: 'Copy as curl' }).click());
      assert.ok(!command.includes(made) && !command.includes(token), command);
      const run = (environment) =>
        promisify(execFile)('bash', ['-c', command.replace(/^curl/, 'curl -sS')], { env: { PATH: process.env.PATH, ...environment } });
      assert.match((await run({ MLX_GATEWAY_API_KEY: made })).stdout, /data: .*\[DONE\]/s);
      assert.match((await run({})).stdout, /invalid_api_key/);
    });
  } finally {
    await other.stop();
  }
});

test('the calls of tools stand in the timeline, between the answers that asked for them and came of them', async () => {
  await capture({ on: true });
  const id = await asked(TOOL, { 'x-mlx-gateway-tools': 'calculator' });
  await visit(`/requests/${id}`, async (page) => {
    const timeline = page.getByRole('region', { name: 'Timeline' });
    await timeline.getByText('calculator').waitFor();
    const order = await timeline.getByRole('listitem').evaluateAll((all) => all.map((one) => one.querySelector('.name').textContent));
    const at = order.indexOf('calculator');
    assert.ok(at > 0 && at < order.length - 1, order.join(', '));
    assert.match(order.at(-1), /Answer|Prompt/);
    await said(page)
      .getByText(/The tool said: 42/)
      .waitFor();
  });
});

test('what was captured stays text: no script runs and nothing is fetched from elsewhere', async () => {
  await capture({ on: true });
  const id = await asked(
    '<img src=x onerror=window.owned=1> #think=1 #text=<img_src=x_onerror=window.owned=1>|![x](https://evil.example.com/x.png)|<svg_onload=window.owned=1>|[a](javascript:window.owned=1)|end',
  );
  await visit(`/requests/${id}`, async (page) => {
    for (const tab of ['Chat', 'Pretty', 'Raw']) {
      await said(page).getByRole('tab', { name: tab }).click();
      await said(page)
        .getByRole('tabpanel')
        .getByText('evil.example.com')
        .or(said(page).getByRole('tabpanel').getByText('end').last())
        .first()
        .waitFor();
      assert.equal(await page.locator(':is(img[src="x"], img[src^="https:"], svg[onload], a[href^="javascript"])').count(), 0, tab);
      assert.equal(await page.evaluate(() => window.owned), undefined, tab);
    }
  });
});

test('a capture is deleted from its request, and all of them from the settings', async () => {
  await capture({ on: true });
  const id = await asked('#chunks=2 to be forgotten');
  await asked('#chunks=2 this as well');
  await capture({ on: false });
  await visit(`/requests/${id}`, async (page) => {
    await said(page).getByText('to be forgotten').waitFor();
    await said(page).getByRole('button', { name: 'Delete this capture' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete this capture' }).click();
    await said(page)
      .getByText(/has been deleted/)
      .waitFor();
    await page.goto(`${gateway.base}/settings`);
    const section = page.getByRole('region', { name: 'Captures' });
    await section.getByText(/requests? kept/).waitFor();
    await section.getByRole('button', { name: 'Delete all captures' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete all captures' }).click();
    await section.getByText('Nothing is kept.').waitFor();
  });
});

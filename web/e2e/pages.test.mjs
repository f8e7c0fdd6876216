// Every requirement with a visible side, by its id, in a real browser against the real gateway with the
// scripted model server.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { faults, loaded, SCREENS } from './lib/screens.mjs';
import { until } from './lib/until.mjs';
import { start, tile, visit as visitAt } from './lib/visit.mjs';

let browser;
let gateway;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start();
  await gateway.ask('qwen', '#chunks=40 #interval-us=1000 hello');
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const visit = (path, work, { at = gateway, ...options } = {}) => visitAt(browser, at, path, work, options);

test('SERVER-01: pick a profile in a searchable combobox and press Start', () =>
  visit('/servers', async (page) => {
    const box = page.getByRole('combobox', { name: 'Profile' });
    await box.fill('gem');
    // By its own name, and by its model's.
    await until(async () => (await page.getByRole('listbox').getByRole('option').count()) === 2, 'two profiles');
    await box.press('Enter');
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await tile(page, 'gemma').getByText('Running').waitFor();
  }));

test('SERVER-02: a running server is a tile with gauges, figures and buttons', () =>
  visit('/servers', async (page) => {
    const qwen = tile(page, 'qwen');
    await qwen.getByText('Running').waitFor();
    for (const name of ['Memory', 'CPU', 'GPU']) assert.ok(await qwen.getByRole('meter', { name }).isVisible(), name);
    for (const name of ['Tokens/s', 'Total tokens', 'Uptime', 'In flight', 'Queued'])
      assert.ok(await qwen.getByText(name, { exact: true }).isVisible(), name);
    assert.match(await qwen.innerText(), /Qwen3-4B-4bit/);
    const leave = new AbortController();
    const answer = gateway.ask('qwen', '#chunks=20000 #interval-us=8000 on', leave.signal).catch(() => {});
    await until(async () => Number.parseFloat(await qwen.locator('dd').first().innerText()) > 0, 'tokens per second above 0');
    leave.abort();
    await answer;
    assert.ok(await qwen.getByRole('button', { name: 'Restart qwen' }).isEnabled());
    // While somebody would lose an answer it asks first.
    await until(async () => (await qwen.locator('dd').nth(3).innerText()) === '0', 'nothing in flight');
    await qwen.getByRole('button', { name: 'Stop qwen' }).click();
    await qwen.waitFor({ state: 'detached' });
  }));

test('SERVER-03: the scroll position survives fifty updates, and no tile moves', () =>
  visit(
    '/servers',
    async (page) => {
      await page.getByRole('heading', { name: 'Servers' }).waitFor();
      await start(page, 'gpt-oss');
      await tile(page, 'gpt-oss').getByText('Failed', { exact: true }).waitFor();
      for (const name of ['gemma', 'qwen']) {
        await gateway.api('POST', `/api/v1/servers/${name}/start`);
        await tile(page, name).getByText('Running').waitFor();
      }
      await page.evaluate(() => scrollTo(0, 180));
      const places = () =>
        page.evaluate(() => [
          scrollY,
          ...[...document.querySelectorAll('article')].map((one) => [
            one.ariaLabel,
            one.getBoundingClientRect().top,
            one.getBoundingClientRect().height,
          ]),
        ]);
      const before = await places();
      assert.ok(before[0] > 100, `the page is long enough to be scrolled: ${before[0]}`);
      let updates = 0;
      const events = await gateway.hear('servers', (event) => (updates += /event: server\.changed/.test(event) ? 1 : 0));
      while (updates < 50) {
        await gateway.api('POST', '/api/v1/servers/gemma/restart');
        await gateway.ask('gemma', '#chunks=20 #interval-us=1000 go');
        assert.deepEqual(await places(), before);
      }
      await events.end();
      const { servers } = await gateway.api('GET', '/api/v1/servers');
      const total = String(servers.find(({ profiles }) => profiles.includes('gemma')).total_tokens);
      await tile(page, 'gemma').getByText(total, { exact: true }).waitFor();
      assert.deepEqual(await places(), before);
    },
    { height: 420 },
  ));

test('BUGFIX-04: the page asks once and is told of what changes; however long nothing does, it does not ask again', () =>
  visit('/', async (page) => {
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    await page.clock.install();
    await page.goto(`${gateway.base}/servers`);
    const qwen = tile(page, 'qwen');
    await gateway.api('POST', '/api/v1/servers/qwen/start?wait=true');
    await qwen.getByText('Running').waitFor();
    const asked = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    for (let i = 0; i < 10; i += 1) await page.clock.runFor(30_000);
    await gateway.api('POST', '/api/v1/servers/qwen/stop');
    await qwen.waitFor({ state: 'detached' });
    await gateway.api('POST', '/api/v1/servers/qwen/start?wait=true');
    await qwen.getByText('Running').waitFor();
    // The line is taken up again when it was silent, and the machine's figures come with a change that was told.
    // What the page itself consists of is no question.
    assert.deepEqual(
      asked.filter((path) => !path.startsWith('/assets/') && !['/api/v1/events', '/api/v1/system'].includes(path)),
      [],
    );
  }));

test('BUGFIX-07: what is not known is told as n/a, never as 0', () =>
  visit('/servers', async (page) => {
    await gateway.api('POST', '/api/v1/servers/qwen/start?wait=true');
    const qwen = tile(page, 'qwen');
    await qwen.getByText('Running').waitFor();
    const { servers } = await gateway.api('GET', '/api/v1/servers');
    const { gpu_percent: known } = servers.find(({ profiles }) => profiles.includes('qwen'));
    assert.match(await qwen.getByRole('meter', { name: 'GPU' }).innerText(), known == null ? /n\/a/ : /\d %/);
    await page.goto(`${gateway.base}/requests`);
    await gateway.ask('qwen', '#error=400');
    const failed = page
      .getByRole('row')
      .filter({ hasText: /Failed|Refused/ })
      .first();
    await failed.waitFor();
    assert.match(await failed.innerText(), /n\/a/);
  }));

test('BUGFIX-06: a model that does not load says why, with its last log lines and a hint', () =>
  visit('/servers', async (page) => {
    await page.getByRole('heading', { name: 'Servers' }).waitFor();
    await start(page, 'gpt-oss');
    const failed = tile(page, 'gpt-oss');
    await failed.getByText('Failed', { exact: true }).waitFor();
    assert.match(await failed.getByRole('region', { name: 'Last log lines' }).innerText(), /\w/);
    assert.equal(await failed.getByText('Running').count(), 0);
  }));

test('a server shows its log, searchable, and the command it was started with', () =>
  visit('/servers', async (page) => {
    const gemma = tile(page, 'gemma');
    await gemma.getByRole('button', { name: 'Logs' }).click();
    const dialog = page.getByRole('dialog');
    await until(async () => /\d+ lines?/.test(await dialog.innerText()) && !/^0 lines/m.test(await dialog.innerText()), 'log lines');
    await dialog.getByRole('searchbox').fill('no such words in it');
    await dialog.getByText('Nothing matches').waitFor();
    await dialog.getByRole('tab', { name: 'Details' }).click();
    await until(async () => /--port/.test(await dialog.getByRole('region', { name: 'Command' }).innerText()), 'the command');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  }));

test('PRO-01, PRO-02: a profile has a description and a system prompt in text areas, and is kept', () =>
  visit('/profiles/new', async (page) => {
    await page.getByLabel('Name', { exact: true }).fill('made-here');
    await page.getByLabel('Model', { exact: true }).fill('builtin:demo');
    assert.equal(await page.getByLabel('Description').evaluate((area) => area.tagName), 'TEXTAREA');
    await page.getByLabel('Description').fill('Made in a test');
    assert.equal(await page.getByLabel('System prompt').evaluate((area) => area.tagName), 'TEXTAREA');
    await page.getByLabel('System prompt').fill('Answer in rhymes.');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.waitForURL('**/profiles/made-here');
    const kept = await gateway.api('GET', '/api/v1/profiles/made-here');
    assert.equal(kept.system_prompt, 'Answer in rhymes.');
    assert.equal(kept.description, 'Made in a test');
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.waitForURL('**/profiles');
  }));

test('a profile of the file is shown and locked, and can be exported', () =>
  visit('/profiles/qwen', async (page) => {
    await page.getByText('This profile comes from config.toml').waitFor();
    assert.ok(await page.getByLabel('Name', { exact: true }).isDisabled());
    await page.getByRole('button', { name: 'Export as TOML' }).click();
    await until(async () => /\[\[profile\]\]\s+name = "qwen"/.test(await page.getByRole('dialog').innerText()), 'the profile as TOML');
  }));

test('CHAT-01: an answer streams, what the model thinks is folded away, in each shape, and each answer has its figures', () =>
  visit('/chat?profile=gemma', async (page) => {
    await page.getByRole('textbox', { name: 'Message gemma' }).fill('#think=5 #chunks=12 hello');
    await page.keyboard.press('Enter');
    const answer = page.getByRole('log').getByRole('article', { name: 'gemma' });
    await answer.getByText('w0 w1').waitFor();
    await answer.getByText(/first token/).waitFor();
    await answer.getByText(/Thought for|Thinking/).waitFor();
    assert.doesNotMatch(await answer.locator('.prose').innerText(), /t0 t1/);
    // As text within the answer, its tags cut anywhere.
    await page.getByRole('textbox', { name: 'Message gemma' }).fill('#text=<think>a_quiet_thought</think>||An_open_answer.');
    await page.keyboard.press('Enter');
    const other = page.getByRole('log').getByRole('article', { name: 'gemma' }).last();
    await other.getByText('An open answer.').waitFor();
    assert.doesNotMatch(await other.locator('.prose').innerText(), /quiet/);
    await other.getByText(/Thought for|Thinking/).click();
    assert.ok(await other.getByText('a quiet thought').isVisible());
    await answer.first().getByRole('link', { name: 'Request' }).click();
    await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  }));

test('chat: Esc stops an answer, and a failure says what happened with its request id', () =>
  visit('/chat?profile=gemma', async (page) => {
    const box = page.getByRole('textbox', { name: 'Message gemma' });
    await box.fill('#chunks=20000 #interval-us=5000 long');
    await page.keyboard.press('Enter');
    await page.getByText('w0 w1').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('You stopped this answer.').waitFor();
    await box.fill('#error=400');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').filter({ hasText: 'The answer failed' }).waitFor();
  }));

test('what a model writes stays text: no script runs and nothing is fetched from elsewhere', () =>
  visit('/chat?profile=gemma', async (page) => {
    await page.evaluate(() => (window.owned = 0));
    await page
      .getByRole('textbox', { name: 'Message gemma' })
      .fill(
        '#text=<img_src=x_onerror=window.owned=1>_![x](https://evil.example.com/x.png)_<script>window.owned=1</script>_[x](javascript:window.owned=1)_end',
      );
    await page.keyboard.press('Enter');
    await page.getByText(/first token/).waitFor();
    assert.equal(await page.evaluate(() => window.owned), 0);
    assert.equal(await page.locator('.prose img, .prose script, .prose a[href^="javascript"]').count(), 0);
  }));

test('the usage and the requests show what was asked', () =>
  visit('/requests', async (page) => {
    await page.getByRole('row').filter({ hasText: 'gemma' }).first().waitFor();
    await page.goto(`${gateway.base}/usage?by=profile`);
    await page.getByRole('row').filter({ hasText: 'gemma' }).waitFor();
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download CSV' }).click()]);
    assert.match(readFileSync(await file.path(), 'utf8'), /^profile,requests,/);
  }));

test('records that could not be written are told where the sums lack them', () =>
  visit('/usage', async (page) => {
    const told = page.getByText('missing here');
    await page.getByRole('heading', { name: 'Usage' }).waitFor();
    await until(async () => (await page.locator('.bone').count()) === 0, 'the usage is loaded');
    assert.equal(await told.count(), 0);
    // As after a disk that stayed full for long: the gateway's own answer with its count.
    await page.route('**/api/v1/system', async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), records_lost: 3 } });
    });
    await page.reload();
    await page.getByText('3 requests are missing here').waitFor();
  }));

test('an address that leads nowhere says so, with a way back', () =>
  visit('/nowhere', async (page) => {
    await page.getByRole('heading', { level: 1, name: 'There is no such page' }).waitFor();
    assert.match(await page.title(), /no such page/);
    await page.getByRole('main').getByRole('link', { name: 'Home' }).click();
    await page.getByRole('heading', { level: 1, name: 'Home' }).waitFor();
  }));

test('the snippet on the first page works when it is run as it stands', () =>
  visit('/', async (page) => {
    // Until the profiles have come it names none.
    const region = page.getByRole('region', { name: 'curl' });
    await region.getByText('"qwen"').waitFor();
    const code = await region.innerText();
    const { execFileSync } = await import('node:child_process');
    const answer = JSON.parse(execFileSync('sh', ['-c', code.replace(/^curl/, 'curl -s')], { encoding: 'utf8' }));
    assert.equal(answer.object, 'chat.completion');
  }));

test('settings tell each value with its origin, and the doctor its findings', () =>
  visit('/settings', async (page) => {
    const row = page.getByRole('row').filter({ hasText: 'server.listen' });
    await row.getByText('File').waitFor();
    await page.getByRole('button', { name: 'Run the checks' }).click();
    await page.getByText('is yours alone').waitFor();
  }));

test('the token of the Hub is set and removed in the settings, and never shown', () =>
  visit('/settings', async (page) => {
    const section = page.getByRole('region', { name: 'Hugging Face Hub' });
    await section.getByText('No token').waitFor();
    await section.getByLabel('Token').fill('hf_of_this_test');
    await section.getByRole('button', { name: 'Set token' }).click();
    await section.getByText('Token set here').waitFor();
    assert.ok(!(await page.content()).includes('hf_of_this_test'));
    await section.getByRole('button', { name: 'Remove token' }).click();
    await page.getByRole('dialog', { name: 'Remove the token of the Hub?' }).getByRole('button', { name: 'Remove token' }).click();
    await section.getByText('No token').waitFor();
  }));

test('a backup is downloaded from the settings', () =>
  visit('/settings', async (page) => {
    const coming = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download backup' }).click();
    const { readFileSync } = await import('node:fs');
    const file = readFileSync(await (await coming).path());
    assert.equal(file.subarray(0, 2).toString(), 'PK');
  }));

test('the keyboard reaches everything: palette, shortcuts and search', () =>
  visit('/', async (page) => {
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('dialog').getByRole('combobox').waitFor();
    await page.keyboard.type('servers');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/servers');
    await page.keyboard.press('g');
    await page.keyboard.press('p');
    await page.getByRole('heading', { name: 'Profiles' }).waitFor();
    await page.getByRole('searchbox').waitFor();
    await page.keyboard.press('/');
    assert.ok(await page.getByRole('searchbox').evaluate((box) => box === document.activeElement));
    await page.keyboard.press('Tab');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  }));

test('keys that follow the palette without a pause reach the page', () =>
  visit('/', async (page) => {
    await page.getByRole('heading', { name: 'Home' }).waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('dialog').getByRole('combobox').waitFor();
    await page.keyboard.type('servers');
    await page.getByRole('option', { name: 'Servers' }).first().waitFor();
    // In one turn, before the browser draws again: nobody types faster.
    await page.evaluate(() => {
      for (const key of ['Enter', 'g', 'p'])
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
    });
    await page.waitForURL('**/profiles');
    await page.getByRole('heading', { name: 'Profiles' }).waitFor();
  }));

test('the theme and the language are kept, German is complete on the page', () =>
  visit('/servers', async (page) => {
    await page.getByRole('button', { name: 'Dark' }).click();
    await page.getByLabel('Language').selectOption('de');
    await page.getByRole('heading', { name: 'Server', exact: true }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Server', exact: true }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'de');
  }));

test('a gateway that went away is told without moving the page, and found again', async () => {
  const other = await Gateway.start({ profiles: false });
  let again;
  await visit(
    '/requests',
    async (page) => {
      await page.getByText('No request yet').waitFor();
      const place = () => page.getByText('No request yet').boundingBox();
      const before = await place();
      await other.stop();
      const told = page.getByText('The gateway does not answer.');
      await told.waitFor();
      assert.deepEqual(await place(), before);
      // It tries at once when asked to, and says so for as long as it is in vain.
      const tried = page.waitForRequest(/\/api\/v1\/events/);
      await page.getByRole('button', { name: 'Try again' }).click();
      await tried;
      assert.ok(await told.isVisible());
      again = await Gateway.start({ profiles: false, listen: new URL(other.base).host });
      // By itself from here on: a click now could meet a button that just went.
      await told.waitFor({ state: 'detached' });
      await again.api('GET', '/api/v1/system');
    },
    { at: other },
  ).finally(() => again?.stop());
});

test('names of models and lines of logs stay text', async () => {
  const attack = '<img src=x onerror=window.owned=1>';
  const folder = join(mkdtempSync(join(tmpdir(), 'mlx-gateway-odd-')), attack);
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: attack, architectures: [attack] }));
  const words = JSON.stringify(`echo '${attack}'; printf '\\033[31m<svg onload=window.owned=1>\\n' >&2; exit 3`);
  const odd = `[[profile]]\nname = "odd"\ndescription = ${JSON.stringify(attack)}\nengine = "command"\nmodel = ${JSON.stringify(folder)}\ncommand = ["/bin/sh", "-c", ${words}, "{port}", "{model}"]\n`;
  const other = await Gateway.start({ profiles: false, sections: odd });
  try {
    await visit(
      '/servers',
      async (page) => {
        await page.addInitScript(() => (window.owned = 0));
        await page.reload();
        await start(page, 'odd');
        const failed = tile(page, 'odd');
        await failed.getByRole('region', { name: 'Last log lines' }).getByText(attack).waitFor();
        const harmless = async (where) => {
          assert.equal(await page.locator(':is(img[src="x"], svg[onload])').count(), 0, where);
          assert.equal(await page.evaluate(() => window.owned), 0, where);
        };
        await harmless('the tile');
        await failed.getByRole('button', { name: 'Logs' }).click();
        await page.getByRole('dialog').getByText('<svg onload=window.owned=1>').waitFor();
        await harmless('the log');
        await page.getByRole('dialog').getByRole('tab', { name: 'Details' }).click();
        await page.getByRole('dialog').getByText('Backend', { exact: true }).waitFor();
        await harmless('the details');
        for (const path of ['/profiles', '/profiles/odd', '/models', '/chat?profile=odd', '/']) {
          await page.goto(other.base + path);
          await page.locator('h1').first().waitFor();
          await until(async () => (await page.locator('.bone').count()) === 0, `${path} is loaded`);
          await harmless(path);
        }
      },
      { at: other },
    );
  } finally {
    await other.stop();
    rmSync(join(folder, '..'), { recursive: true });
  }
});

for (const theme of ['light', 'dark']) {
  test(`axe finds nothing on any screen, ${theme}`, async () => {
    const found = [];
    for (const width of [1280, 360]) {
      const { context, page, said } = await open(browser, gateway.base, { theme, width });
      await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
      for (const path of SCREENS) {
        await page.goto(gateway.base + path);
        await loaded(page, path);
        found.push(...(await faults(page, path)));
      }
      found.push(...said.map((line) => `${width}: ${line}`));
      await context.close();
    }
    assert.deepEqual(found, []);
  });
}

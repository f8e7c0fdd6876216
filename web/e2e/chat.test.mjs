// Chat, by requirement id, against the scripted model: what is kept, what reaches the backend, and whom it asks.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { until } from './lib/until.mjs';
import { visit as visitAt } from './lib/visit.mjs';

/** One red dot. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';

let browser;
let gateway;
before(async () => {
  browser = await launch();
  gateway = await Gateway.start();
  await gateway.ask('gemma', 'hello');
});
after(async () => {
  await browser?.close();
  await gateway?.stop();
});

const visit = (path, work, options) => visitAt(browser, gateway, path, work, options);
const box = (page) => page.getByRole('textbox', { name: 'Message gemma' });
const answers = (page) => page.getByRole('log').getByRole('article', { name: 'gemma' });
const questions = (page) => page.getByRole('log').getByRole('article', { name: 'You' });
const history = (page) => page.getByRole('navigation', { name: 'Conversations' });

async function say(page, text) {
  await box(page).fill(text);
  await page.keyboard.press('Enter');
}

/** Says something and waits until its answer has ended. */
async function ask(page, text) {
  const before = await answers(page).getByRole('link', { name: 'Request' }).count();
  await say(page, text);
  await until(async () => (await answers(page).getByRole('link', { name: 'Request' }).count()) > before, 'the answer has ended');
}

/** The body of the newest request that the backend saw. */
async function seen(profile = 'gemma', of = gateway) {
  const { servers } = await of.api('GET', '/api/v1/servers');
  const { port } = servers.find(({ profiles }) => profiles.includes(profile));
  const { requests } = await (await fetch(`http://127.0.0.1:${port}/__seen`)).json();
  return JSON.parse(requests.at(-1).body);
}

test('A CHAT-03, A CHAT-04: a conversation is kept, stands in the history under its profile, and is found', () =>
  visit('/chat?profile=gemma', async (page) => {
    await ask(page, 'About trains #text=They_run_on_rails.');
    await page.waitForURL(/\/chat\/[0-9a-f-]{36}/);
    const { pathname } = new URL(page.url());
    await page.reload();
    await answers(page).getByText('They run on rails.').waitFor();
    await answers(page)
      .getByText(/first token/)
      .waitFor();
    await history(page).getByRole('heading', { name: 'gemma' }).waitFor();
    await page.getByRole('button', { name: 'New conversation' }).click();
    await ask(page, 'About boats #text=They_float.');
    await until(async () => (await history(page).getByRole('link').count()) === 2, 'two conversations');
    await page.getByRole('searchbox', { name: 'Search conversations' }).fill('rails');
    await until(async () => (await history(page).getByRole('link').count()) === 1, 'the one that is meant');
    await history(page).getByRole('link').click();
    await page.waitForURL(`**${pathname}**`);
    await answers(page).getByText('They run on rails.').waitFor();
    // The context goes on with it.
    await ask(page, 'and_now?');
    assert.deepEqual(
      (await seen()).messages.filter(({ role }) => role !== 'system').map(({ role }) => role),
      ['user', 'assistant', 'user'],
    );
  }));

test('another tab hears of a conversation, and a deleted one is gone', () =>
  visit('/chat?profile=gemma', async (page, context) => {
    await ask(page, 'Told in one tab');
    const other = await context.newPage();
    await other.goto(page.url());
    await answers(other).first().waitFor();
    await ask(page, 'Told once more');
    await until(async () => (await questions(other).count()) === 2, 'the other tab shows it');
    await history(page).getByRole('listitem').filter({ hasText: 'Told in one tab' }).hover();
    await page.getByRole('button', { name: 'Delete Told in one tab' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.waitForURL(/\/chat$/);
    await history(other).getByText('Told in one tab').waitFor({ state: 'detached' });
    await other.reload();
    await other.getByText('This conversation is not there').waitFor();
  }));

test('an answer can be had again and a question asked differently, each on a branch of its own', () =>
  visit('/chat?profile=gemma', async (page) => {
    await ask(page, 'first #text=one');
    await ask(page, 'second #text=two');
    await answers(page).last().getByRole('button', { name: 'Ask again' }).click();
    const branches = answers(page).last().getByRole('group', { name: 'Branches' });
    await branches.getByText('2/2').waitFor();
    await answers(page).last().getByRole('link', { name: 'Request' }).waitFor();
    await branches.getByRole('button', { name: 'The one before' }).click();
    await branches.getByText('1/2').waitFor();

    await questions(page).first().getByRole('button', { name: 'Edit and ask again' }).click();
    await questions(page).first().getByRole('textbox').fill('changed #text=three');
    await questions(page).first().getByRole('button', { name: 'Send' }).click();
    await answers(page).getByText('three').waitFor();
    assert.equal(await questions(page).count(), 1);
    await until(async () => (await answers(page).getByRole('link', { name: 'Request' }).count()) === 1, 'it has ended');
    // All of it is still there after a reload.
    await page.reload();
    await answers(page).getByText('three').waitFor();
    await questions(page).first().getByRole('button', { name: 'The one before' }).click();
    await answers(page).getByText('two').waitFor();
    await questions(page).last().getByRole('button', { name: 'Delete with all that follows' }).click();
    await until(async () => (await questions(page).count()) === 1, 'the end is gone');
  }));

test('B CHAT-02: pictures by button, paste and drop reach the model, and go with the context', () =>
  visit('/chat?profile=gemma', async (page) => {
    await page
      .getByLabel('Attach pictures or videos')
      .and(page.locator('input'))
      .setInputFiles({ name: 'button.png', mimeType: 'image/png', buffer: Buffer.from(PNG, 'base64') });
    await page.getByText('button.png').waitFor();
    await page.evaluate((png) => {
      const bytes = Uint8Array.from(atob(png), (one) => one.charCodeAt(0));
      const carrying = (name) => {
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type: 'image/png' }));
        return data;
      };
      document
        .querySelector('textarea')
        .dispatchEvent(new ClipboardEvent('paste', { clipboardData: carrying('pasted.png'), bubbles: true, cancelable: true }));
      window.dispatchEvent(new DragEvent('drop', { dataTransfer: carrying('dropped.png'), bubbles: true, cancelable: true }));
    }, PNG);
    await page.getByText('pasted.png').waitFor();
    await page.getByText('dropped.png').waitFor();
    await page.getByRole('button', { name: 'Remove pasted.png' }).click();
    await ask(page, 'what_is_it?');
    await ask(page, 'and_what_else?');
    const pictures = (await seen()).messages
      .flatMap(({ content }) => (Array.isArray(content) ? content : []))
      .filter(({ type }) => type === 'image_url');
    assert.deepEqual(
      pictures.map(({ image_url }) => image_url.url),
      Array(2).fill(`data:image/png;base64,${PNG}`),
    );
    await page.reload();
    await questions(page).getByRole('img', { name: 'dropped.png' }).waitFor();
  }));

test('B CHAT-03: a video reaches a model that takes pictures as frames', () =>
  visit('/chat?profile=gemma', async (page) => {
    const video = await page.evaluate(async () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
      const context = canvas.getContext('2d');
      const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm' });
      const pieces = [];
      recorder.ondataavailable = ({ data }) => pieces.push(data);
      const ended = new Promise((done) => (recorder.onstop = done));
      recorder.start();
      for (let i = 0; i < 12; i += 1) {
        context.fillStyle = `hsl(${i * 30} 80% 50%)`;
        context.fillRect(0, 0, 64, 48);
        await new Promise((done) => setTimeout(done, 40));
      }
      recorder.stop();
      await ended;
      return Array.from(new Uint8Array(await new Blob(pieces).arrayBuffer()));
    });
    await page
      .getByLabel('Attach pictures or videos')
      .and(page.locator('input'))
      .setInputFiles({ name: 'clip.webm', mimeType: 'video/webm', buffer: Buffer.from(video) });
    await page.getByText(/clip\.webm: \d+ frames?/).waitFor();
    await ask(page, 'what_happens?');
    const parts = (await seen()).messages.at(-1).content;
    assert.ok(
      parts.filter(({ type, image_url }) => type === 'image_url' && image_url.url.startsWith('data:image/jpeg;base64,')).length >= 1,
      JSON.stringify(parts).slice(0, 300),
    );
    assert.equal(parts.at(-1).text, 'what_happens?');
  }));

test('B CHAT-03: a video reaches a model that takes videos whole, byte for byte', async () => {
  const other = await Gateway.start({ sections: `[[profile]]\nname = "watches"\nmodel = "./video-model"\n` });
  try {
    // Looked into when it is first asked about.
    mkdirSync(join(other.folder, 'video-model'), { recursive: true });
    writeFileSync(
      join(other.folder, 'video-model', 'config.json'),
      JSON.stringify({
        model_type: 'qwen2_5_vl',
        architectures: ['Qwen2_5_VLForConditionalGeneration'],
        vision_config: {},
        video_token_id: 151_656,
      }),
    );
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 31 + (i >> 8)) % 256));
    await visitAt(browser, other, '/chat?profile=watches', async (page) => {
      const file = { name: 'clip.mp4', mimeType: 'video/mp4', buffer: bytes };
      await page.getByRole('textbox', { name: 'Message watches' }).waitFor();
      await until(async () => {
        // Until the page knows what the model takes, it makes frames, which cannot be had of these bytes.
        await page.getByLabel('Attach pictures or videos').and(page.locator('input')).setInputFiles(file);
        return (await page.getByText('clip.mp4', { exact: true }).count()) > 0;
      }, 'the video is attached');
      await page.getByRole('textbox', { name: 'Message watches' }).fill('what_happens?');
      await page.keyboard.press('Enter');
      await page.getByRole('log').getByRole('link', { name: 'Request' }).waitFor();
      const parts = (await seen('watches', other)).messages.at(-1).content;
      assert.deepEqual(
        parts.map(({ type }) => type),
        ['video_url', 'text'],
      );
      assert.ok(Buffer.from(parts[0].video_url.url.replace('data:video/mp4;base64,', ''), 'base64').equals(bytes));
      // It goes with the context.
      await page.getByRole('textbox', { name: 'Message watches' }).fill('and_then?');
      await page.keyboard.press('Enter');
      await until(async () => (await page.getByRole('log').getByRole('link', { name: 'Request' }).count()) === 2, 'the second answer');
      assert.equal(
        (await seen('watches', other)).messages.filter(({ content }) => Array.isArray(content) && content[0].type === 'video_url').length,
        1,
      );
    });
  } finally {
    await other.stop();
  }
});

test('B CHAT-04: a tool is called only with consent: once, denied, always', () =>
  visit('/chat?profile=gemma', async (page) => {
    const call = '#tool #call=calculator #args={"expression":"6*7"}';
    const open = (name) => answers(page).getByRole('region', { name: 'Call of calculator' }).last().getByRole('button', { name });
    await page.locator('summary[aria-label^="Tools"]').click();
    await page.getByRole('checkbox', { name: /^calculator/ }).check();
    await page.locator('summary[aria-label^="Tools"]').click();

    await say(page, call);
    await open('Deny').click();
    await answers(page).getByText('not allowed', { exact: true }).waitFor();
    await answers(page)
      .getByText(/The tool said: The user did not allow/)
      .waitFor();
    await until(async () => !(await page.getByRole('button', { name: 'Stop' }).count()), 'it has ended');

    await say(page, call);
    await answers(page).getByText('{"expression":"6*7"}').last().waitFor();
    await open('Allow once').click();
    await answers(page).getByText('The tool said: 42').waitFor();
    await until(async () => !(await page.getByRole('button', { name: 'Stop' }).count()), 'it has ended');

    await say(page, call);
    await open('Always allow').click();
    await until(async () => (await answers(page).getByText('The tool said: 42').count()) === 2, 'the second result');
    await until(async () => !(await page.getByRole('button', { name: 'Stop' }).count()), 'it has ended');
    await say(page, call);
    await until(async () => (await answers(page).getByText('The tool said: 42').count()) === 3, 'it is not asked about any more');
    const { messages, tools } = await seen();
    assert.equal(messages.at(-1).role, 'tool');
    assert.deepEqual(
      tools.map((tool) => tool.function.name),
      ['calculator'],
    );
  }));

test('an answer goes on while somebody looks at another screen', () =>
  visit('/chat?profile=gemma', async (page) => {
    await say(page, '#chunks=60 #interval-us=60000 long');
    await answers(page).getByText('w0 w1').waitFor();
    await page.getByRole('link', { name: 'Models' }).click();
    await page.getByRole('heading', { name: 'Models' }).waitFor();
    await page.goBack();
    await answers(page).getByText('w58 w59').waitFor();
    await answers(page).getByText('60 tokens').waitFor();
  }));

test('a page that is left in mid-answer keeps what was said, and says that it was cut off', () =>
  visit('/chat?profile=gemma', async (page) => {
    await say(page, '#chunks=20000 #interval-us=20000 long');
    await answers(page).getByText('w0 w1').waitFor();
    await page.waitForURL(/\/chat\/[0-9a-f-]{36}/);
    await until(async () => {
      const { messages } = await gateway.api('GET', `/api/v1/chats/${page.url().split('/').pop().split('?')[0]}`);
      return messages.some(({ role, text }) => role === 'assistant' && text.length > 5);
    }, 'something of it is kept');
    await page.reload();
    await answers(page).getByText('w0 w1').waitFor();
    await answers(page).getByText('The page was left before this answer ended.').waitFor();
    await until(
      async () => (await gateway.api('GET', '/api/v1/requests?limit=1')).requests[0].status === 'cancelled',
      'the backend is free',
    );
  }));

test('an answer during which the gateway dies says so, and the conversation goes on when it is back', async () => {
  const other = await Gateway.start();
  try {
    await visitAt(browser, other, '/chat?profile=gemma', async (page) => {
      await say(page, '#chunks=20000 #interval-us=20000 long');
      await answers(page).getByText('w0 w1').waitFor();
      await page.waitForURL(/\/chat\/[0-9a-f-]{36}/);
      await other.crash();
      await page.getByRole('alert').filter({ hasText: 'The answer failed' }).getByText('The gateway cannot be reached').waitFor();
      // What was said so far stays on the page, and is told not to be kept yet.
      await answers(page).getByText('w0 w1').waitFor();
      await page.getByText('not kept yet').waitFor();
      await page.getByText('The gateway does not answer.').waitFor();
      await other.again();
      await page.getByText('The gateway does not answer.').waitFor({ state: 'detached' });
      await page.getByText('not kept yet').waitFor({ state: 'detached' });
      await say(page, 'again #text=It_is_back.');
      await answers(page).getByText('It is back.').waitFor();
      await answers(page).last().getByRole('link', { name: 'Request' }).waitFor();
      await page.reload();
      await answers(page).getByText('It is back.').waitFor();
      await answers(page).getByText('w0 w1').waitFor();
    });
  } finally {
    await other.stop();
  }
});

test('logging out in mid-answer ends it in every tab, and it is there to read after logging in again', async () => {
  const other = await Gateway.start();
  try {
    const account = { email: 'ada@example.com', password: 'correct horse battery' };
    const { token } = await other.api('POST', '/api/v1/auth/register', account);
    await visitAt(browser, other, '/login', async (page, context) => {
      const log_in = async (at) => {
        await at.getByLabel('Email').fill(account.email);
        await at.getByLabel('Password').fill(account.password);
        await at.getByRole('button', { name: 'Log in' }).click();
        await at.waitForURL((url) => url.pathname !== '/login');
      };
      await log_in(page);
      await page.goto(`${other.base}/chat?profile=gemma`);
      await say(page, '#chunks=20000 #interval-us=20000 long');
      await answers(page).getByText('w0 w1').waitFor();
      await page.waitForURL(/\/chat\/[0-9a-f-]{36}/);
      const { pathname } = new URL(page.url());
      const as = { authorization: `Bearer ${token}` };
      await until(
        async () => JSON.stringify(await other.api('GET', `/api/v1/chats/${pathname.split('/').pop()}`, undefined, as)).includes('w0 w1'),
        'something of it is kept',
      );
      const tab = await context.newPage();
      await tab.goto(`${other.base}/servers`);
      await tab.getByRole('button', { name: 'Log out' }).click();
      await tab.waitForURL('**/login');
      await page.waitForURL(/\/login/);
      // The first session is another one: it still may look.
      await until(
        async () => (await other.api('GET', '/api/v1/requests?limit=1', undefined, as)).requests[0].status === 'cancelled',
        'the backend is free',
      );
      assert.equal(await page.getByText('w0 w1').count(), 0, 'nothing of it is left on the page');
      await log_in(page);
      await page.goto(other.base + pathname);
      await answers(page).getByText('w0 w1').waitFor();
    });
  } finally {
    await other.stop();
  }
});

/** What has got scripts through sanitisers before, as the scripted models and tools can write it. */
const ATTACKS = [
  '<img_src=x_onerror=window.owned=1>',
  '<svg><animate_onbegin=window.owned=1_attributeName=x_dur=1s>',
  '<math><mtext><table><mglyph><style><img_src=x_onerror=window.owned=1>',
  '<a_href="javascript:window.owned=1"_autofocus_onfocus=window.owned=1>x</a>',
  '<details_open_ontoggle=window.owned=1>x</details>',
  '<form><button_formaction=javascript:window.owned=1>x</button></form>',
  '<noscript><p_title="</noscript><img_src=x_onerror=window.owned=1>">',
  '<base_href=https://evil.example.com/>',
  '<style>@import_url(https://evil.example.com/x.css)</style>',
  '[x](data:text/html,<script>window.owned=1</script>)',
  '![x](https://evil.example.com/pixel.png)',
  '$\\href{javascript:window.owned=1}{x}$',
  '```html|<img_src=x_onerror=window.owned=1>|```',
];
const harmless = async (page, where) => {
  assert.equal(
    await page
      .locator(
        '.log :is(img, iframe, script, style, base, form, [onerror], [onload], [ontoggle], [onbegin], [onfocus], a[href^="javascript"], a[href^="data"])',
      )
      .count(),
    0,
    where,
  );
  assert.equal(await page.evaluate(() => window.owned), undefined, where);
};

test('what a model thinks, says and calls stays text, however it is written', () =>
  visit('/chat?profile=gemma', async (page) => {
    for (const attack of ATTACKS) {
      await ask(page, `#text=<think>${attack}</think>||${attack}||done`);
      await harmless(page, attack);
      await answers(page)
        .last()
        .getByText(/Thought for|Thinking/)
        .click();
      await harmless(page, `${attack} in thinking`);
    }
  }));

test('what a tool answers stays text, and so does what was to be called with', () =>
  visit('/chat?profile=gemma', async (page) => {
    await page.locator('summary[aria-label^="Tools"]').click();
    await page.getByRole('checkbox', { name: /^calculator/ }).check();
    await page.locator('summary[aria-label^="Tools"]').click();
    // The tool repeats what it cannot read, and the model repeats what the tool says.
    const attack = '<img/src=x/onerror=window.owned=1>';
    await say(page, `#tool #call=calculator #args={"expression":"${attack}"}`);
    await answers(page).getByRole('button', { name: 'Allow once' }).last().click();
    const call = answers(page).getByRole('region', { name: 'Call of calculator' }).last();
    await call.getByText(/unexpected/).waitFor();
    assert.match(await call.innerText(), /<img\/src=x[\s\S]*<img\/src=x/, 'what it was called with, and what it said of that');
    await answers(page).getByText('The tool said').last().waitFor();
    await harmless(page, 'the result of a tool');
  }));

test('what thinking and tools write stays text', () =>
  visit('/chat?profile=gemma', async (page) => {
    await page.evaluate(() => (window.owned = 0));
    await ask(
      page,
      '#text=<think><img_src=x_onerror=window.owned=1></think>|<iframe_srcdoc="<script>parent.owned=1</script>">|<svg_onload=window.owned=1>|[a](javascript:window.owned=1)|done',
    );
    await answers(page)
      .getByText(/Thought for|Thinking/)
      .click();
    await answers(page).getByText('<img src=x onerror=window.owned=1>').waitFor();
    assert.equal(await page.locator('.log :is(img, iframe, svg[onload], script, a[href^="javascript"])').count(), 0);
    assert.equal(await page.evaluate(() => window.owned), 0);
  }));

test('a conversation is saved as a document', () =>
  visit('/chat?profile=gemma', async (page) => {
    await ask(page, 'A title #text=An_answer.');
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export as Markdown' }).click()]);
    assert.match(file.suggestedFilename(), /^A title.*\.md$/);
  }));

test('answers that nest too deep or that are marks alone are shown, and the conversation goes on', () =>
  visit('/chat?profile=gemma', async (page) => {
    const unread = [
      ['quotes', '> '.repeat(3_000)],
      ['emphasis', '*a '.repeat(20_000)],
    ];
    for (const [name, marks] of unread) {
      const text = `${name}: ${marks}`;
      await page.route('**/v1/chat/completions', async (route) => {
        const chunk = {
          id: 'x',
          object: 'chat.completion.chunk',
          model: 'gemma',
          choices: [{ index: 0, delta: { content: `${marks}${name}` }, finish_reason: null }],
        };
        const end = { ...chunk, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };
        const body = [chunk, end].map((one) => `data: ${JSON.stringify(one)}\n\n`).join('') + 'data: [DONE]\n\n';
        await route.fulfill({ status: 200, contentType: 'text/event-stream', body });
      });
      const before = await answers(page).count();
      await say(page, `Say ${name}.`);
      await until(async () => (await answers(page).count()) > before, 'an answer is there');
      await answers(page).last().getByText(name).waitFor();
      assert.match(await answers(page).last().innerText(), name === 'quotes' ? /> > >/ : /\*a \*a/, text.slice(0, 20));
      await page.unroute('**/v1/chat/completions');
    }
    // The page is not busy: it answers, and what was said before is still there.
    await ask(page, 'And now #text=Still_here.');
    await answers(page).getByText('Still here.').waitFor();
    assert.equal(await questions(page).count(), 3);
    await page.reload();
    await answers(page).getByText('Still here.').waitFor();
    assert.equal(await answers(page).count(), 3);
  }));

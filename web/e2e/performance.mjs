// How smooth the chat is, in a real browser: the longest task of the main thread while an answer of 10,000 tokens
// comes and while a conversation of 1,000 messages opens, and when a cold page is first painted. Fails when a task
// needs more than 50 ms, or the paint more than a second.
//   npm run performance
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { trace } from './lib/tasks.mjs';
import { until } from './lib/until.mjs';

/** What a cold page may take until it is first painted. */
const PAINT_MS = 1000;
/** From here on a task is a long one. */
const LONG_MS = 50;

const browser = await launch();
const gateway = await Gateway.start();
const say = (line) => process.stdout.write(`   ${line}\n`);

async function fresh(path) {
  const { context, page } = await open(browser, gateway.base);
  await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
  await page.goto(gateway.base + path);
  await page.locator('h1').first().waitFor();
  return { context, page };
}

/**
 * Says how long tasks took by the clock, and how long the thread ran in them: what lies between is the time in which it
 * waited for a core that others held. Only what it ran is the page's own, and fails.
 */
async function measured(what, work) {
  const { page, tasks } = await trace(browser, work);
  const most = (of) => Math.max(...tasks.map(of)).toFixed(0);
  const long = tasks.filter(({ clock }) => clock > LONG_MS);
  if (tasks.some(({ ran }) => ran > LONG_MS)) process.exitCode = 1;
  say(
    `${what}: the longest of ${tasks.length} tasks ran ${most(({ ran }) => ran)} ms, and took ${most(({ clock }) => clock)} ms by the clock; ${long.length} over ${LONG_MS} ms by the clock`,
  );
  return page;
}

try {
  await gateway.ask('gemma', 'hello');
  const cold = await fresh('/');
  await until(() => cold.page.evaluate(() => performance.getEntriesByName('first-contentful-paint').length > 0), 'it is painted');
  const paint = await cold.page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
  if (paint > PAINT_MS) process.exitCode = 1;
  say(`first paint of a cold page: ${paint.toFixed(0)} ms`);
  await cold.context.close();

  const long = await fresh('/chat?profile=gemma');
  const box = long.page.getByRole('textbox', { name: 'Message gemma' });
  await box.waitFor();
  await measured('an answer of 10,000 tokens', async () => {
    await box.fill('#chunks=10000 #interval-us=2000 long');
    await long.page.keyboard.press('Enter');
    await long.page.getByRole('log').getByRole('link', { name: 'Request' }).waitFor();
    return long.page;
  });
  await long.context.close();

  const messages = Array.from({ length: 1000 }, (_, i) => ({
    id: `m${i}`,
    parent: i ? `m${i - 1}` : null,
    role: i % 2 ? 'assistant' : 'user',
    profile: 'gemma',
    state: 'done',
    text:
      i % 2
        ? `## Part ${i}\n\n${'Some words of an answer. '.repeat(20)}\n\n- one\n- two\n\n\`\`\`js\nlet a = ${i};\n\`\`\``
        : `Question ${i}?`,
  }));
  const { id } = await gateway.api('POST', '/api/v1/chats', { title: 'Long', profile: 'gemma', leaf: 'm999', messages });
  const history = await measured('a conversation of 1,000 messages opens', async () => {
    const { page } = await fresh(`/chat/${id}`);
    await page.getByText('Part 999').waitFor();
    return page;
  });
  await measured('it is scrolled back', async () => {
    await until(async () => {
      await history.evaluate(() => scrollTo(0, 0));
      await history.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      return history.evaluate((all) => document.querySelectorAll('[role=log] article').length === all, messages.length);
    }, 'its beginning is drawn');
    return history;
  });
} finally {
  await browser.close();
  await gateway.stop();
}

// How smooth the chat is, in a real browser: the longest task of the main thread while an answer of 10,000 tokens
// comes and while a conversation of 1,000 messages opens, and when a cold page is first painted. Fails when a task
// takes more than 50 ms, or the paint more than a second.
//   npm run performance
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { until } from './lib/until.mjs';

/** What a cold page may take until it is first painted. */
const PAINT_MS = 1000;

const browser = await launch();
const gateway = await Gateway.start();
const say = (line) => process.stdout.write(`   ${line}\n`);

async function fresh(path) {
  const { context, page } = await open(browser, gateway.base);
  await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
  await page.addInitScript(() => {
    window.tasks = [];
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask', buffered: true });
  });
  await page.goto(gateway.base + path);
  await page.locator('h1').first().waitFor();
  return { context, page };
}

const forget = (page) => page.evaluate(() => (window.tasks.length = 0));
async function report(page, what) {
  // Observers are told in an idle moment.
  await page.evaluate(() => new Promise((done) => requestIdleCallback(() => requestIdleCallback(done))));
  const tasks = await page.evaluate(() => window.tasks);
  if (tasks.length) process.exitCode = 1;
  say(`${what}: ${tasks.length} tasks over 50 ms${tasks.length ? `, the longest ${Math.max(...tasks).toFixed(0)} ms` : ''}`);
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
  await forget(long.page);
  await box.fill('#chunks=10000 #interval-us=2000 long');
  await long.page.keyboard.press('Enter');
  await long.page.getByRole('log').getByRole('link', { name: 'Request' }).waitFor();
  await report(long.page, 'an answer of 10,000 tokens');
  await long.context.close();

  const messages = Array.from({ length: 1000 }, (_, i) => ({
    id: `m${i}`,
    parent: i ? `m${i - 1}` : null,
    role: i % 2 ? 'assistant' : 'user',
    profile: 'gemma',
    state: 'done',
    text: i % 2 ? `## Part ${i}\n\n${'Some words of an answer. '.repeat(20)}\n\n- one\n- two\n\n\`\`\`js\nlet a = ${i};\n\`\`\`` : `Question ${i}?`,
  }));
  const { id } = await gateway.api('POST', '/api/v1/chats', { title: 'Long', profile: 'gemma', leaf: 'm999', messages });
  const history = await fresh(`/chat/${id}`);
  await history.page.getByText('Part 999').waitFor();
  await report(history.page, 'a conversation of 1,000 messages opens');
  await forget(history.page);
  await until(async () => {
    await history.page.evaluate(() => scrollTo(0, 0));
    await history.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    return history.page.evaluate((all) => document.querySelectorAll('[role=log] article').length === all, messages.length);
  }, 'its beginning is drawn');
  await report(history.page, 'it is scrolled back');
  await history.context.close();
} finally {
  await browser.close();
  await gateway.stop();
}

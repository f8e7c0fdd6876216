import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { until } from './lib/until.mjs';
const browser = await launch();
const gateway = await Gateway.start();
try {
  await gateway.ask('gemma', 'hello');
  const messages = Array.from({ length: 1000 }, (_, i) => ({ id: `m${i}`, parent: i ? `m${i - 1}` : null, role: i % 2 ? 'assistant' : 'user', profile: 'gemma', state: 'done',
    text: i % 2 ? `## Part ${i}\n\n${'Some words of an answer. '.repeat(20)}\n\n- one\n- two\n\n\`\`\`js\nlet a = ${i};\n\`\`\`` : `Question ${i}?` }));
  const { id } = await gateway.api('POST', '/api/v1/chats', { title: 'Long', profile: 'gemma', leaf: 'm999', messages });
  for (let k = 0; k < 4; k++) {
    const { context, page } = await open(browser, gateway.base);
    await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
    await page.addInitScript(() => {
      window.tasks = []; window.loaf = [];
      new PerformanceObserver((l) => window.tasks.push(...l.getEntries().map((e) => [Math.round(e.startTime), Math.round(e.duration)]))).observe({ type: 'longtask', buffered: true });
      new PerformanceObserver((l) => window.loaf.push(...l.getEntries().map((e) => ({ s: Math.round(e.startTime), d: Math.round(e.duration), render: Math.round(e.renderStart - e.startTime), style: Math.round(e.styleAndLayoutStart - e.startTime), scripts: e.scripts.map((x) => [x.invokerType, x.invoker.slice(-60), x.sourceFunctionName, Math.round(x.startTime - e.startTime), Math.round(x.duration), Math.round(x.forcedStyleAndLayoutDuration)]) })))).observe({ type: 'long-animation-frame', buffered: true });
    });
    await page.goto(gateway.base + `/chat/${id}`);
    await page.getByText('Part 999').waitFor();
    await page.evaluate(() => new Promise((done) => requestIdleCallback(() => requestIdleCallback(done))));
    await page.evaluate(() => new Promise((done) => setTimeout(done, 500)));
    console.log(JSON.stringify(await page.evaluate(() => window.tasks)), JSON.stringify(await page.evaluate(() => window.loaf), null, 1));
    await context.close();
  }
} finally { await browser.close(); await gateway.stop(); }

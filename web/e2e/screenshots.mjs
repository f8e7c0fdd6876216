// Pictures of every screen at three widths, light and dark, with a page that shows them all.
//   node e2e/screenshots.mjs FOLDER [PATTERN]    (of file names, such as `^servers-390`)
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch, open } from './lib/browser.mjs';
import { Gateway } from './lib/gateway.mjs';
import { Hub } from './lib/hub.mjs';
import { FRESH, OTHERS, USED } from './lib/scenes.mjs';
import { furnish, upgraded } from './lib/stage.mjs';
import { until } from './lib/until.mjs';

const FOLDER = process.argv[2] ?? 'screenshots';
const WANTED = new RegExp(process.argv[3] ?? '');
const WIDTHS = [390, 1024, 1600];
const THEMES = ['light', 'dark'];

/** As high as its content, so that what stands at the side reaches the end too. */
async function whole(page, width) {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width, height });
}

/** Tokens flow while the picture is taken. */
async function flowing(gateway, token) {
  const line = new AbortController();
  const flow = gateway.askAs(token, 'gemma', '#chunks=4000 #interval-us=14000 on', line.signal).catch(() => {});
  await until(
    async () =>
      (await gateway.api('GET', '/api/v1/servers', undefined, { authorization: `Bearer ${token}` })).servers.some(
        (one) => one.tokens_per_s > 20,
      ),
    'tokens flow',
  );
  return async () => {
    line.abort();
    await flow;
  };
}

const browser = await launch();
const hub = await Hub.start();
const gateways = [];
const start = async (options) => {
  const gateway = await Gateway.start(options);
  gateways.push(gateway);
  return gateway;
};

async function take() {
  const env = { HF_ENDPOINT: hub.base };
  const used = await start({ env });
  const fresh = await start({ env, profiles: false });
  const away = await start({ profiles: false });
  const { token, ofUser, asked } = await furnish(used, hub);
  await upgraded(fresh);
  const all = [
    ...Object.entries(USED).map(([name, scene]) => ({ name, gateway: used, cookie: token, ...scene })),
    ...Object.entries(OTHERS).map(([name, scene]) => ({ name, gateway: used, cookie: scene.as ? ofUser : null, ...scene })),
    ...Object.entries(FRESH).map(([name, scene]) => ({ name, gateway: scene.away ? away : fresh, cookie: null, ...scene })),
  ];
  const rows = [];
  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      const height = width < 500 ? 844 : 900;
      const { context, page, said } = await open(browser, used.base, { theme, width, height });
      for (const { name, gateway, cookie, path, before, busy, fixed, only, away: ends } of all) {
        const file = `${name}-${width}-${theme}.png`;
        if (!WANTED.test(file) || (only && only !== width)) continue;
        process.stderr.write(`   ${file}\n`);
        // From nowhere: a page that loses its session would go to the log-in by itself.
        await page.goto('about:blank');
        await context.clearCookies();
        await page.setViewportSize({ width, height });
        if (/^(request|captures)/.test(name)) await used.api('PUT', '/api/v1/captures', { on: true }, { authorization: `Bearer ${token}` });
        if (cookie) await context.addCookies([{ name: 'mlx_gateway_session', value: cookie, url: gateway.base }]);
        if (gateway !== used) await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
        const still = busy ? await flowing(gateway, token) : null;
        await page.goto(gateway.base + (typeof path === 'string' ? path : path(asked)));
        await page.locator('h1').first().waitFor();
        await until(async () => (await page.locator('.bone').count()) === 0, `${name} is loaded`);
        if (ends) await gateway.crash();
        await before?.(page);
        if (!fixed) await whole(page, width);
        await page.screenshot({ path: join(FOLDER, file) });
        rows.push({ name, width, theme, file });
        await still?.();
        if (ends) await gateway.again();
      }
      const odd = said.filter((line) => !line.startsWith('foreign request'));
      if (odd.length) process.stderr.write(`   the console at ${width} px, ${theme}: ${odd.join('; ')}\n`);
      await context.close();
    }
  }
  writeFileSync(join(FOLDER, 'index.html'), index(rows));
  process.stdout.write(`   ${rows.length} pictures: ${join(FOLDER, 'index.html')}\n`);
}

mkdirSync(FOLDER, { recursive: true });
try {
  await take();
} finally {
  await browser.close();
  for (const gateway of gateways) await gateway.stop();
  await hub.stop();
}

function index(rows) {
  const names = [...new Set(rows.map((row) => row.name))];
  const figure = ({ file, width, theme }) =>
    `<figure><a href="${file}"><img src="${file}" loading="lazy" height="420" alt="${file}"></a><figcaption>${width} px, ${theme}</figcaption></figure>`;
  const section = (name) =>
    `<h2 id="${name}">${name}</h2><div>${rows
      .filter((row) => row.name === name)
      .map(figure)
      .join('')}</div>`;
  return `<!doctype html><meta charset="utf-8"><title>Screens</title><style>body{font:14px sans-serif;margin:24px;background:#888}div{display:flex;gap:16px;overflow-x:auto}figure{margin:0}img{display:block}</style><p>${names.map((name) => `<a href="#${name}">${name}</a>`).join(' ')}</p>${names.map(section).join('')}`;
}

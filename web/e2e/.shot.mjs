import { launch, open } from '/work/wt/web/web/e2e/lib/browser.mjs';
const base = process.env.BASE ?? 'http://127.0.0.1:5199';
const paths = process.argv[2].split(',');
const widths = (process.argv[3] ?? '1280').split(',').map(Number);
const themes = (process.argv[4] ?? 'light').split(',');
const b = await launch();
for (const theme of themes) for (const width of widths) {
  const { page, said, context } = await open(b, base, { width, height: width < 500 ? 844 : 900, theme });
  for (const p of paths) {
    await page.goto(base + p);
    await page.waitForTimeout(Number(process.env.WAIT ?? 900));
    if (process.env.DO) await (0, eval)(process.env.DO)(page);
    await page.screenshot({ path: `/tmp/shots/${p.replace(/[^a-z0-9]+/gi, '_')}-${width}-${theme}.png`, fullPage: process.env.FULL === '1' });
  }
  if (said.length) console.log(theme, width, said.slice(0, 8));
  await context.close();
}
await b.close();

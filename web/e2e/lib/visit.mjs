// A page of a gateway that has left its set-up, watched from the first request to the last.
import assert from 'node:assert/strict';
import { open } from './browser.mjs';

/** Runs `work` with it, and fails when the page said anything on its console or asked elsewhere. */
export async function visit(browser, gateway, path, work, options = {}) {
  const { context, page, said } = await open(browser, gateway.base, options);
  await context.addCookies([{ name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base }]);
  try {
    await page.goto(gateway.base + path);
    await work(page, context);
    assert.deepEqual(said, []);
  } finally {
    await context.close();
  }
}

export const tile = (page, name) => page.getByRole('article', { name, exact: true });

/** Picks a profile in the combobox and presses Start. */
export async function start(page, name) {
  await page.getByRole('combobox', { name: 'Profile' }).fill(name);
  await page
    .getByRole('option', { name: new RegExp(`^${name}`) })
    .first()
    .click();
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
}

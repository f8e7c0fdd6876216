// Accounts of a gateway's own, and pages of theirs.
import { open } from './browser.mjs';

export const PASSWORD = 'correct horse battery';
export const as = (token) => ({ authorization: `Bearer ${token}` });

/** Registers the first administrator of a fresh gateway; gives the session's token. */
export async function administrator(gateway, email = 'ada@example.com') {
  return (await gateway.api('POST', '/api/v1/auth/register', { email, password: PASSWORD })).token;
}

/** An approved ordinary account; gives the session's token. */
export async function approved(gateway, admin, email = 'linus@example.com') {
  const { user } = await gateway.api('POST', '/api/v1/auth/register', { email, password: PASSWORD });
  await gateway.api('POST', `/api/v1/users/${user.id}/approve`, undefined, as(admin));
  return (await gateway.api('POST', '/api/v1/auth/login', { email, password: PASSWORD })).token;
}

/** The session that a key is traded for. */
export async function traded(gateway, key) {
  return (await gateway.api('POST', '/api/v1/auth/login', { api_key: key })).token;
}

/** A page with that session; `refused` lists the answers of the gateway that are no success. */
export async function openAs(browser, gateway, token, options = {}) {
  const opened = await open(browser, gateway.base, options);
  await opened.context.addCookies([
    { name: 'mlx_gateway_setup', value: 'skipped', url: gateway.base },
    { name: 'mlx_gateway_session', value: token, url: gateway.base, httpOnly: true, sameSite: 'Strict' },
  ]);
  const refused = [];
  opened.page.on('response', (response) => {
    if (response.status() >= 400) refused.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  return { ...opened, refused };
}

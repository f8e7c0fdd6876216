// Every screen as a picture shows it: where it is, what happens before the picture is taken, and of which gateway.
// A screen with `fixed` is not taken beyond what fits in the window.
const button = (page, name) => page.getByRole('button', { name, exact: true });
const dialog = (page) => page.getByRole('dialog').getByRole('heading').first().waitFor();

async function login(page) {
  await page.getByLabel('Email').fill('grace@example.com');
  await page.getByLabel('Password').fill('correct horse battery');
  await button(page, 'Log in').click();
  await page.getByText('waiting for approval').waitFor();
}

/** What the model thought is unfolded, and the end of the conversation in sight. */
async function thought(page) {
  await page.locator('.katex, math').first().waitFor();
  await page.locator('article details summary').first().click();
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
}

/** A model that thinks, calls a tool and waits for somebody's consent. */
async function consent(page) {
  await page.locator('summary[aria-label^="Tools"]').click();
  await page.getByRole('checkbox', { name: /^calculator/ }).check();
  await page.locator('summary[aria-label^="Tools"]').click();
  await page
    .getByRole('textbox', { name: /^Message/ })
    .fill('#tool #call=calculator #args={"expression":"6*7"} #think=12 What is six times seven?');
  await page.keyboard.press('Enter');
  await button(page, 'Allow once').waitFor();
}

async function tried(page) {
  const card = page.getByRole('article', { name: 'calculator', exact: true });
  await card.locator('summary').click();
  await card.getByLabel('expression').fill('2^10 + sqrt(81)');
  await card.getByRole('button', { name: 'Run' }).click();
  await card.getByText('1033').first().waitFor();
}

/** On the gateway that is in use. */
export const USED = {
  home: { path: '/', busy: true },
  servers: {
    path: '/servers',
    busy: true,
    before: (page) =>
      page.waitForFunction(() => (document.querySelector('article polyline')?.getAttribute('points') ?? '').split(' ').length > 6),
  },
  'server-log': { path: '/servers?open=gemma', before: dialog, fixed: true },
  'server-details': {
    path: '/servers?open=gemma',
    before: (page) => page.getByRole('dialog').getByRole('tab', { name: 'Details' }).click(),
    fixed: true,
  },
  models: { path: '/models' },
  hub: { path: '/models?tab=hub&q=qwen' },
  'hub-none': { path: '/models?tab=hub&q=nothing-of-that-name' },
  model: { path: '/models?tab=hub&q=qwen&open=mlx-community/Qwen3-4B-4bit', before: dialog, fixed: true },
  profiles: { path: '/profiles' },
  profile: { path: '/profiles/qwen' },
  'profile-new': { path: '/profiles/new?model=mlx-community/Qwen3-4B-4bit&name=qwen3' },
  chat: { path: (asked) => `/chat/${asked.chat}`, before: thought, fixed: true },
  'chat-consent': { path: '/chat?profile=gemma', before: consent, fixed: true },
  'chat-new': { path: '/chat?profile=qwen', fixed: true },
  usage: { path: '/usage' },
  'usage-user': { path: '/usage?by=user' },
  requests: { path: '/requests', busy: true },
  request: {
    path: (asked) => `/requests/${asked.tools}`,
    before: (page) => page.getByRole('tabpanel').getByText('The tool said: 42').waitFor(),
  },
  'request-raw': { path: (asked) => `/requests/${asked.tools}`, before: (page) => page.getByRole('tab', { name: 'Raw' }).click() },
  'request-failed': {
    path: (asked) => `/requests/${asked.failed}`,
    before: (page) => page.getByRole('heading', { name: 'Error' }).waitFor(),
  },
  captures: {
    path: '/requests',
    before: async (page) => {
      await button(page, 'Stop capturing').click();
      await button(page, 'Capture requests').click();
      await page.getByRole('dialog').getByRole('button', { name: 'Capture requests' }).waitFor();
    },
    fixed: true,
  },
  plugins: { path: '/plugins' },
  'plugin-try': { path: '/plugins', before: tried },
  'plugin-grant': {
    path: '/plugins',
    before: (page) =>
      page.getByRole('article', { name: 'test_tools', exact: true }).getByRole('button', { name: 'Grant permissions' }).click(),
    fixed: true,
  },
  keys: { path: '/keys' },
  'key-new': { path: '/keys?new=1', before: dialog, fixed: true },
  'key-once': {
    path: '/keys',
    before: async (page) => {
      await button(page, 'Rotate editor plugin').click();
      await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
      await page.getByRole('dialog').getByText('curl').first().waitFor();
    },
    fixed: true,
  },
  users: { path: '/users' },
  'user-delete': {
    path: '/users',
    before: async (page) => {
      await button(page, 'Delete linus@example.com').click();
      await dialog(page);
    },
    fixed: true,
  },
  audit: { path: '/audit' },
  settings: {
    path: '/settings',
    before: async (page) => {
      await button(page, 'Run the checks').click();
      await page.locator('section:has(#doctor) li').first().waitFor();
    },
  },
  palette: {
    path: '/',
    before: async (page) => {
      await page.keyboard.press('Control+k');
      await page.getByRole('dialog').getByRole('combobox').fill('ge');
    },
    fixed: true,
  },
  shortcuts: {
    path: '/',
    before: async (page) => {
      await page.keyboard.press('?');
      await dialog(page);
    },
    fixed: true,
  },
  navigation: { path: '/', only: 390, before: (page) => button(page, 'Menu').click(), fixed: true },
  'chat-history': {
    path: (asked) => `/chat/${asked.chat}`,
    only: 390,
    before: (page) => button(page, 'Conversations').click(),
    fixed: true,
  },
  'no-page': { path: '/nowhere' },
  'setup-model': { path: '/setup?step=model' },
  'setup-use': { path: '/setup?step=use' },
};

/** As a user without an administrator's rights, and as nobody. */
export const OTHERS = {
  forbidden: { path: '/audit', as: 'user' },
  'home-user': { path: '/', as: 'user' },
  'chat-user': { path: '/chat?profile=qwen', as: 'user', fixed: true },
  'requests-user': { path: '/requests', as: 'user' },
  'keys-user': { path: '/keys', as: 'user' },
  login: { path: '/login' },
  'login-key': { path: '/login?with=key' },
  register: { path: '/login?register=1' },
  pending: { path: '/login', before: login },
};

/** On a gateway that has just been started for the first time. */
export const FRESH = {
  setup: { path: '/setup' },
  'setup-machine': { path: '/setup?step=machine', before: (page) => page.locator('section:has(#doctor) li').first().waitFor() },
  'setup-profile': { path: '/setup?step=profile' },
  'home-empty': { path: '/' },
  'servers-empty': { path: '/servers' },
  'models-empty': { path: '/models' },
  'profiles-empty': { path: '/profiles' },
  'chat-empty': { path: '/chat', fixed: true },
  'usage-empty': { path: '/usage' },
  'requests-empty': { path: '/requests' },
  'keys-empty': { path: '/keys' },
  'users-empty': { path: '/users' },
  'plugin-upgrade': {
    path: '/plugins',
    before: (page) =>
      page.getByRole('article', { name: 'test_tools', exact: true }).getByRole('button', { name: 'Grant permissions' }).click(),
    fixed: true,
  },
  away: { path: '/', away: true, before: (page) => page.getByText('The gateway does not answer.').waitFor(), fixed: true },
};

// Which screens there are, how they are reached, and who sees them.
import type { Component } from 'svelte';
import { i18n, type Dictionary } from '$lib/i18n/index.svelte';
import type { IconName } from '$lib/components/icons';

export type ScreenId = keyof Dictionary['nav'];

export interface Screen {
  id: ScreenId;
  path: string;
  icon: IconName;
  /** Only admins have it in the navigation. */
  admin?: boolean;
  /** The second key after `g`. */
  key: string;
  load: () => Promise<{ default: Component<{ id?: string }> | Component }>;
}

/** A screen with its words: only the first has them from the start. */
export const worded =
  <T>(screen: () => Promise<T>) =>
  async (): Promise<T> => {
    const [loaded] = await Promise.all([screen(), i18n.more()]);
    // Running its script and drawing it are two tasks.
    await new Promise((done) => setTimeout(done));
    return loaded;
  };

/** The navigation, in groups. */
export const SCREENS: Screen[][] = [
  [
    { id: 'home', path: '/', icon: 'home', key: 'h', load: () => import('../../routes/Home.svelte') },
    { id: 'chat', path: '/chat', icon: 'chat', key: 'c', load: worded(() => import('../../routes/Chat.svelte')) },
    { id: 'models', path: '/models', icon: 'models', key: 'm', load: worded(() => import('../../routes/Models.svelte')) },
    { id: 'servers', path: '/servers', icon: 'servers', key: 's', load: worded(() => import('../../routes/Servers.svelte')) },
    { id: 'profiles', path: '/profiles', icon: 'profiles', key: 'p', load: worded(() => import('../../routes/Profiles.svelte')) },
  ],
  [
    { id: 'usage', path: '/usage', icon: 'usage', key: 'u', load: worded(() => import('../../routes/Usage.svelte')) },
    { id: 'requests', path: '/requests', icon: 'requests', key: 'r', load: worded(() => import('../../routes/Requests.svelte')) },
    { id: 'plugins', path: '/plugins', icon: 'plugins', key: 'l', load: worded(() => import('../../routes/Plugins.svelte')) },
  ],
  [
    { id: 'keys', path: '/keys', icon: 'keys', key: 'k', load: worded(() => import('../../routes/Keys.svelte')) },
    { id: 'users', path: '/users', icon: 'users', admin: true, key: 'w', load: worded(() => import('../../routes/Users.svelte')) },
    { id: 'audit', path: '/audit', icon: 'audit', admin: true, key: 'a', load: worded(() => import('../../routes/Audit.svelte')) },
    { id: 'settings', path: '/settings', icon: 'settings', key: ',', load: worded(() => import('../../routes/Settings.svelte')) },
  ],
];

export const ALL: Screen[] = SCREENS.flat();

/** The screen at a path and what is named after it: `/profiles/qwen` is `profiles` with `qwen`. */
export function screenAt(path: string): { screen: Screen; id?: string } | null {
  const [, first = '', ...rest] = path.split('/');
  const screen = ALL.find((candidate) => candidate.path === `/${first}`);
  if (!screen || (screen.path === '/' && rest.length > 0)) return null;
  const id = rest.map(decodePart).join('/');
  return { screen, id: id || undefined };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

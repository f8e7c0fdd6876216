// The screens: how each is reached, and which permission its requests need.
import type { Component } from 'svelte';
import { i18n, type Dictionary } from '$lib/i18n/index.svelte';
import type { IconName } from '$lib/components/icons';
import { session, type Permission } from './session.svelte';

export type ScreenId = keyof Dictionary['nav'];

export interface Screen {
  id: ScreenId;
  path: string;
  icon: IconName;
  /** Without it the screen is not in the navigation, and its address says why. */
  needs?: Permission;
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
    { id: 'chat', path: '/chat', icon: 'chat', needs: 'inference', key: 'c', load: worded(() => import('../../routes/Chat.svelte')) },
    {
      id: 'models',
      path: '/models',
      icon: 'models',
      needs: 'admin-read',
      key: 'm',
      load: worded(() => import('../../routes/Models.svelte')),
    },
    {
      id: 'servers',
      path: '/servers',
      icon: 'servers',
      needs: 'admin-read',
      key: 's',
      load: worded(() => import('../../routes/Servers.svelte')),
    },
    {
      id: 'profiles',
      path: '/profiles',
      icon: 'profiles',
      needs: 'admin-read',
      key: 'p',
      load: worded(() => import('../../routes/Profiles.svelte')),
    },
  ],
  [
    { id: 'usage', path: '/usage', icon: 'usage', needs: 'read-own', key: 'u', load: worded(() => import('../../routes/Usage.svelte')) },
    {
      id: 'requests',
      path: '/requests',
      icon: 'requests',
      needs: 'read-own',
      key: 'r',
      load: worded(() => import('../../routes/Requests.svelte')),
    },
    {
      id: 'plugins',
      path: '/plugins',
      icon: 'plugins',
      needs: 'admin-read',
      key: 'l',
      load: worded(() => import('../../routes/Plugins.svelte')),
    },
  ],
  [
    { id: 'keys', path: '/keys', icon: 'keys', needs: 'read-own', key: 'k', load: worded(() => import('../../routes/Keys.svelte')) },
    { id: 'users', path: '/users', icon: 'users', needs: 'admin', key: 'w', load: worded(() => import('../../routes/Users.svelte')) },
    { id: 'audit', path: '/audit', icon: 'audit', needs: 'admin', key: 'a', load: worded(() => import('../../routes/Audit.svelte')) },
    {
      id: 'settings',
      path: '/settings',
      icon: 'settings',
      needs: 'admin-read',
      key: ',',
      load: worded(() => import('../../routes/Settings.svelte')),
    },
  ],
];

export const ALL: Screen[] = SCREENS.flat();

/** Whether whoever looks at the page may use the screen. */
export const isAllowed = (screen: Screen): boolean => session.may(screen.needs);

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

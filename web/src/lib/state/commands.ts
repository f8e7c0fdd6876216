// What the palette offers.
import { api, got } from '$lib/api/client';
import type { UsableModel } from '$lib/api/types';
import type { IconName } from '$lib/components/icons';
import { i18n } from '$lib/i18n/index.svelte';
import { live } from './live.svelte';
import { preferences } from './preferences.svelte';
import { router } from './router.svelte';
import { ALL, isAllowed } from './screens';
import { session } from './session.svelte';
import { attempt } from './toasts.svelte';

export interface Command {
  id: string;
  label: string;
  note?: string;
  icon: IconName;
  keys?: string;
  run: () => void;
}

export function commands(): Command[] {
  const t = i18n.t;
  const screens: Command[] = ALL.filter(isAllowed).map((screen) => ({
    id: screen.path,
    label: t.nav[screen.id],
    icon: screen.icon,
    keys: `g ${screen.key}`,
    run: () => router.go(screen.path),
  }));
  const themes: Command[] = (['light', 'dark', 'system'] as const).map((theme) => ({
    id: `theme-${theme}`,
    label: `${t.shell.theme}: ${t.themes[theme]}`,
    icon: theme === 'light' ? 'sun' : theme === 'dark' ? 'moon' : 'screen',
    run: () => preferences.set(theme),
  }));
  return [...screens, ...(live.usable.data ?? []).flatMap(ofProfile), ...themes];
}

function ofProfile({ id: name, description, state }: UsableModel): Command[] {
  const t = i18n.t;
  const act = (verb: 'start' | 'stop') => () =>
    void attempt(
      () => got(api.POST(`/api/v1/servers/{profile}/${verb}`, { params: { path: { profile: name } } })),
      verb === 'start' ? t.servers.starting(name) : t.servers.stopped(name),
    );
  const note = description || undefined;
  const change: Command =
    state === 'ready'
      ? { id: `stop-${name}`, label: t.palette.stop(name), note, icon: 'stop', run: act('stop') }
      : { id: `start-${name}`, label: t.palette.start(name), note, icon: 'play', run: act('start') };
  const chat: Command = {
    id: `chat-${name}`,
    label: t.palette.chat(name),
    note,
    icon: 'chat',
    run: () => router.go(`/chat?profile=${encodeURIComponent(name)}`),
  };
  return [...(session.may('inference') ? [chat] : []), ...(session.admin ? [change] : [])];
}

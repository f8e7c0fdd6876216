// What the palette offers.
import { api, got } from '$lib/api/client';
import type { Profile } from '$lib/api/types';
import type { IconName } from '$lib/components/icons';
import { i18n } from '$lib/i18n/index.svelte';
import { live } from './live.svelte';
import { preferences } from './preferences.svelte';
import { router } from './router.svelte';
import { ALL } from './screens';
import { shortModel } from './serverview';
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
  const screens: Command[] = ALL.filter((screen) => !screen.admin || session.admin).map((screen) => ({
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
  return [...screens, ...(live.profiles.data ?? []).flatMap(ofProfile), ...themes];
}

function ofProfile({ name, model, backend }: Profile): Command[] {
  const t = i18n.t;
  const runs = live.servers.data?.find((server) => server.id === backend)?.state === 'ready';
  const act = (verb: 'start' | 'stop') => () =>
    void attempt(
      () => got(api.POST(`/api/v1/servers/{profile}/${verb}`, { params: { path: { profile: name } } })),
      verb === 'start' ? t.servers.starting(name) : t.servers.stopped(name),
    );
  const note = shortModel(model) || undefined;
  const change: Command = runs
    ? { id: `stop-${name}`, label: t.palette.stop(name), note, icon: 'stop', run: act('stop') }
    : { id: `start-${name}`, label: t.palette.start(name), note, icon: 'play', run: act('start') };
  return [
    {
      id: `chat-${name}`,
      label: t.palette.chat(name),
      note,
      icon: 'chat',
      run: () => router.go(`/chat?profile=${encodeURIComponent(name)}`),
    },
    ...(session.admin ? [change] : []),
  ];
}

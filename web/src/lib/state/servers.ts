// Starting and stopping backends, with the words around it.
import { api, path } from '$lib/api/client';
import type { Server } from '$lib/api/types';
import { i18n } from '$lib/i18n/index.svelte';
import { confirmation } from './confirm.svelte';
import { live } from './live.svelte';
import { attempt } from './toasts.svelte';

function take(server: Server | undefined): void {
  if (server?.profiles) live.servers.take(server);
}

function nameOf(server: Server): string {
  return server.profiles[0] ?? server.id;
}

export const actions = {
  async start(profile: string): Promise<void> {
    take(await attempt(() => api.post<Server>(path`/api/v1/servers/${profile}/start`), i18n.t.servers.starting(profile)));
  },

  async restart(server: Server): Promise<void> {
    const name = nameOf(server);
    take(await attempt(() => api.post<Server>(path`/api/v1/servers/${name}/restart`), i18n.t.servers.restarting(name)));
  },

  /** Asks first only where somebody would lose an answer. */
  async stop(server: Server): Promise<void> {
    const name = nameOf(server);
    const t = i18n.t;
    if (server.in_flight > 0) {
      const question = { title: t.servers.stopTitle(name), text: t.servers.stopText(server.in_flight), action: t.action.stop };
      if (!(await confirmation.ask(question))) return;
    }
    const stopped = await attempt(() => api.post<Server>(path`/api/v1/servers/${name}/stop`));
    if (!stopped) return;
    take(stopped);
    const { toasts } = await import('./toasts.svelte');
    toasts.done(t.servers.stopped(name), { label: t.action.undo, run: () => void actions.start(name) });
  },
};

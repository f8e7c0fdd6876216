// Starting and stopping backends, with the words around it.
import { api, got } from '$lib/api/client';
import type { Server } from '$lib/api/types';
import { i18n } from '$lib/i18n/index.svelte';
import { confirmation } from './confirm.svelte';
import { live } from './live.svelte';
import { attempt } from './toasts.svelte';

/** Sends a command; what it answers is shown unless an event was faster. */
async function command(name: string, verb: 'start' | 'stop' | 'restart' | 'pin' | 'unpin', done?: string): Promise<Server | undefined> {
  const begun = live.servers.begin();
  const server = (await attempt(
    () => got(api.POST(`/api/v1/servers/{profile}/${verb}`, { params: { path: { profile: name } } })),
    done,
  )) as Server | undefined;
  if (server?.profiles) live.servers.answered(server, begun);
  return server;
}

function nameOf(server: Server): string {
  return server.profiles[0] ?? server.id;
}

export const actions = {
  async start(profile: string): Promise<void> {
    await command(profile, 'start', i18n.t.servers.starting(profile));
  },

  async restart(server: Server): Promise<void> {
    const name = nameOf(server);
    await command(name, 'restart', i18n.t.servers.restarting(name));
  },

  /** Keeps it loaded, or lets it be stopped again. */
  async pin(server: Server): Promise<void> {
    const name = nameOf(server);
    await command(name, server.pinned ? 'unpin' : 'pin', server.pinned ? i18n.t.servers.unpinned(name) : i18n.t.servers.pinned(name));
  },

  /** Asks first only where somebody would lose an answer. */
  async stop(server: Server): Promise<void> {
    const name = nameOf(server);
    const t = i18n.t;
    if (server.in_flight > 0) {
      const question = { title: t.servers.stopTitle(name), text: t.servers.stopText(server.in_flight), action: t.action.stop };
      if (!(await confirmation.ask(question))) return;
    }
    if (!(await command(name, 'stop'))) return;
    const { toasts } = await import('./toasts.svelte');
    toasts.done(t.servers.stopped(name), { label: t.action.undo, run: () => void actions.start(name) });
  },
};

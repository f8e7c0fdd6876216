// What the whole page watches: one event stream feeding keyed lists. Screens read from here; nothing
// is polled.
import { api } from '$lib/api/client';
import { EventStream, type GatewayEvent, type Link } from '$lib/api/events';
import type { Download, Profile, Server, System } from '$lib/api/types';
import { Resource } from './resource.svelte';

/** A list of things that change one by one. */
export class Keyed<T extends { removed?: boolean }> extends Resource<T[]> {
  constructor(
    fetcher: () => Promise<T[]>,
    private readonly key: (thing: T) => string,
  ) {
    super(fetcher);
  }

  /** Puts in what an event told, at its place; what is new comes last. */
  take(thing: T): void {
    if (!this.data) return;
    const id = this.key(thing);
    const at = this.data.findIndex((known) => this.key(known) === id);
    if (thing.removed) this.data = this.data.filter((_, i) => i !== at);
    else if (at < 0) this.data = [...this.data, thing];
    else this.data = this.data.with(at, { ...this.data[at]!, ...thing });
  }
}

const MACHINE_EVERY_MS = 5_000;

type Listener = (event: GatewayEvent) => void;

class Live {
  link = $state<Link>('connecting');
  servers = new Keyed<Server>(async () => (await api.get<{ servers: Server[] }>('/api/v1/servers')).servers, (s) => s.id);
  profiles = new Keyed<Profile>(async () => (await api.get<{ profiles: Profile[] }>('/api/v1/profiles')).profiles, (p) => p.name);
  downloads = new Keyed<Download>(async () => (await api.get<{ downloads: Download[] }>('/api/v1/downloads')).downloads, (d) => d.id);
  system = new Resource<System>(() => api.get<System>('/api/v1/system'));
  pendingUsers = $state(0);

  #stream: EventStream | null = null;
  #listeners = new Set<Listener>();
  #looked = 0;

  /** Loads everything and listens from then on. */
  start(admin: boolean): void {
    this.#stream?.stop();
    this.refresh(admin);
    this.#stream = new EventStream('/api/v1/events', {
      event: (event) => this.#take(event),
      stale: () => this.refresh(admin),
      link: (link) => (this.link = link),
    });
    this.#stream.start();
    addEventListener('online', () => this.#stream?.retry());
  }

  stop(): void {
    this.#stream?.stop();
    this.#stream = null;
  }

  retry(): void {
    this.#stream?.retry();
  }

  refresh(admin: boolean): void {
    void this.servers.load();
    void this.profiles.load();
    void this.system.load();
    void this.downloads.load();
    if (admin) void this.#countPending();
    for (const listener of this.#listeners) listener({ id: null, name: 'stale', data: null });
  }

  /** Hears every event; the answer ends that. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #countPending(): Promise<void> {
    try {
      this.pendingUsers = (await api.get<{ count: number }>('/api/v1/users/pending/count')).count;
    } catch {
      this.pendingUsers = 0;
    }
  }

  #take(event: GatewayEvent): void {
    const data = event.data as never;
    if (event.name === 'server.changed') {
      this.servers.take(data);
      this.#lookAtMachine();
    }
    if (event.name === 'profile.changed') this.profiles.take(data);
    else if (event.name === 'download.changed') this.downloads.take(data);
    else if (/^users?\./.test(event.name)) void this.#countPending();
    for (const listener of this.#listeners) listener(event);
  }

  /** Figures of the machine go with those of the backends, less often. */
  #lookAtMachine(): void {
    if (Date.now() - this.#looked < MACHINE_EVERY_MS) return;
    this.#looked = Date.now();
    void this.system.load();
  }
}

export const live = new Live();

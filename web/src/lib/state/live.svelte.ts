// Lists that one event stream keeps true; nothing is polled. What only readers of everything may see is not
// requested for others.
import { api, got } from '$lib/api/client';
import { EventStream, type GatewayEvent, type Link } from '$lib/api/events';
import type { Download, Profile, Server, System, UsableModel } from '$lib/api/types';
import { Resource } from './resource.svelte';

/** A list of things that change one by one. What an event told is newer than an answer that was asked for
    before it, however late that answer comes; and each thing keeps its place. */
export class Keyed<T extends { removed?: boolean }> extends Resource<T[]> {
  #told = new Map<string, { at: number; thing: T }>();
  #count = 0;

  constructor(
    fetcher: () => Promise<T[]>,
    private readonly key: (thing: T) => string,
  ) {
    super(fetcher);
  }

  /** Puts in what an event told, at its place; what is new comes last. */
  take(thing: T): void {
    this.#count += 1;
    this.#told.set(this.key(thing), { at: this.#count, thing });
    if (this.data) this.data = this.#with(this.data, thing);
  }

  /** Puts in what a command answered, unless an event has told of it since `begun`. */
  answered(thing: T, begun: number): void {
    const told = this.#told.get(this.key(thing));
    if (this.data && (!told || told.at <= begun)) this.data = this.#with(this.data, thing);
  }

  /** How much has been told until now; asked before a command is sent. */
  override begin(): number {
    return this.#count;
  }

  protected override settle(loaded: T[], begun: number): T[] {
    const places = new Map((this.data ?? []).map((thing, i) => [this.key(thing), i]));
    const place = (thing: T) => places.get(this.key(thing)) ?? Infinity;
    let list = loaded.toSorted((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
    for (const { at, thing } of this.#told.values()) if (at > begun) list = this.#with(list, thing);
    return list;
  }

  #with(list: T[], thing: T): T[] {
    const id = this.key(thing);
    const at = list.findIndex((known) => this.key(known) === id);
    if (thing.removed) return list.filter((_, i) => i !== at);
    return at < 0 ? [...list, thing] : list.with(at, { ...list[at]!, ...thing });
  }
}

const MACHINE_EVERY_MS = 5_000;

type Listener = (event: GatewayEvent) => void;

class Live {
  link = $state<Link>('connecting');
  servers = new Keyed<Server>(
    async () => (await got(api.GET('/api/v1/servers'))).servers as Server[],
    (s) => s.id,
  );
  /** The profiles that this caller may use. */
  usable = new Keyed<UsableModel>(
    async () => (await got(api.GET('/v1/models'))).data as UsableModel[],
    (m) => m.id,
  );
  profiles = new Keyed<Profile>(
    async () => (await got(api.GET('/api/v1/profiles'))).profiles as unknown as Profile[],
    (p) => p.name,
  );
  downloads = new Keyed<Download>(
    async () => (await got(api.GET('/api/v1/downloads'))).downloads,
    (d) => d.id,
  );
  system = new Resource<System>(() => got(api.GET('/api/v1/system')));
  pendingUsers = $state(0);

  #stream: EventStream | null = null;
  #listeners = new Set<Listener>();
  #looked = 0;

  /** Listens, and loads everything once it does, so that nothing is missed in between. `reader`: the caller may
      read everything. */
  start(reader: boolean): void {
    this.#stream?.stop();
    let loaded = false;
    const refresh = () => {
      loaded = true;
      this.refresh(reader);
    };
    this.#stream = new EventStream('/api/v1/events', {
      event: (event) => this.#take(event),
      stale: refresh,
      link: (link) => {
        this.link = link;
        // Without a stream the screens still say what there is, or why there is nothing.
        if (!loaded && (link === 'waiting' || link === 'closed')) refresh();
      },
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

  refresh(reader: boolean): void {
    void this.usable.load();
    if (reader) {
      void this.servers.load();
      void this.profiles.load();
      void this.system.load();
      void this.downloads.load();
      void this.#countPending();
    }
    for (const listener of this.#listeners) listener({ id: null, name: 'stale', data: null });
  }

  /** Hears every event; the answer ends that. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #countPending(): Promise<void> {
    try {
      this.pendingUsers = (await got(api.GET('/api/v1/users/pending/count'))).count;
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
    else if (event.name === 'profile.available') this.usable.take(data);
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

// The conversations there are, and those that are open on this page.
import { api, got } from '$lib/api/client';
import type { ChatSummary } from '$lib/api/types';
import { live } from '../live.svelte';
import { Resource } from '../resource.svelte';
import { Conversation } from './conversation.svelte';

const SHOWN = 200;

class Chats {
  search = $state('');
  list = new Resource<ChatSummary[]>(
    async () => (await got(api.GET('/api/v1/chats', { params: { query: { q: this.search, limit: SHOWN } } }))).chats,
  );
  #open = new Map<string, Conversation>();
  #fresh: Conversation | null = null;

  /** Grouped by profile, each group as its newest conversation stands. */
  grouped = $derived.by(() => {
    const groups = new Map<string, ChatSummary[]>();
    for (const chat of this.list.data ?? []) groups.set(chat.profile, [...(groups.get(chat.profile) ?? []), chat]);
    return [...groups];
  });

  /** The conversation with that id, or the one that has not begun. `began` is told when it gets its id. */
  at(id: string | undefined, began: (id: string) => void): Conversation {
    if (!id) return (this.#fresh ??= this.#make(began));
    const known = this.#open.get(id);
    if (known) return known;
    const conversation = this.#make(began);
    this.#open.set(id, conversation);
    void conversation.load(id);
    return conversation;
  }

  /** Begins another one. */
  clear(): void {
    this.#fresh = null;
  }

  async remove(id: string): Promise<void> {
    this.#open.get(id)?.stop();
    await got(api.DELETE('/api/v1/chats/{id}', { params: { path: { id } } }));
    this.#open.delete(id);
    void this.list.load();
  }

  async rename(id: string, title: string): Promise<void> {
    const open = this.#open.get(id);
    if (open) open.rename(title);
    else await got(api.PATCH('/api/v1/chats/{id}', { params: { path: { id } }, body: { title } }));
    void this.list.load();
  }

  /** Another tab has changed something; the answer ends the listening. */
  listen(): () => void {
    let due: ReturnType<typeof setTimeout> | null = null;
    const stop = live.listen((event) => {
      if (event.name !== 'chat.changed' && event.name !== 'stale') return;
      const { id } = (event.data ?? {}) as { id?: string };
      const open = id ? this.#open.get(id) : undefined;
      if (id && open && !open.busy && !open.isOurs()) void open.load(id);
      due ??= setTimeout(() => {
        due = null;
        void this.list.load();
      }, 500);
    });
    return () => {
      stop();
      if (due) clearTimeout(due);
    };
  }

  #make(began: (id: string) => void): Conversation {
    return new Conversation((conversation) => {
      this.#open.set(conversation.id!, conversation);
      if (this.#fresh === conversation) this.#fresh = null;
      began(conversation.id!);
      void this.list.load();
    });
  }
}

export const chats = new Chats();

// Short messages at the edge of the page: what was done, with a way back where there is one.
import { ApiError } from '$lib/api/errors';
import { i18n } from '$lib/i18n/index.svelte';

export interface Toast {
  id: number;
  kind: 'done' | 'failed';
  text: string;
  detail?: string;
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 6_000;
const KEPT = 4;

class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  add(toast: Omit<Toast, 'id'>): void {
    const id = this.#next++;
    this.list = [...this.list, { ...toast, id }].slice(-KEPT);
    // A failure stays until it was read.
    if (toast.kind === 'done') setTimeout(() => this.drop(id), SHOWN_MS);
  }

  done(text: string, action?: Toast['action']): void {
    this.add({ kind: 'done', text, action });
  }

  failed(error: unknown): void {
    this.add({ kind: 'failed', ...told(error) });
  }

  drop(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();

/** Does something and says how it failed, if it did. */
export async function attempt<T>(work: () => Promise<T>, done?: string): Promise<T | undefined> {
  try {
    const result = await work();
    if (done) toasts.done(done);
    return result;
  } catch (error) {
    toasts.failed(error);
    return undefined;
  }
}

export function told(error: unknown): { text: string; detail?: string } {
  if (!(error instanceof ApiError)) return { text: error instanceof Error ? error.message : String(error) };
  if (error.offline) return { text: i18n.t.state.offline, detail: i18n.t.state.offlineHint };
  return { text: error.message, detail: error.requestId ? `${i18n.t.state.requestId} ${error.requestId}` : undefined };
}

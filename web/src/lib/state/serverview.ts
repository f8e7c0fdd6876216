// How a backend is shown: pure.
import type { Tone } from './tone';
import type { RequestRecord, Server, ServerState } from '$lib/api/types';
import type { Dictionary } from '$lib/i18n/index.svelte';

export function tone(state: ServerState): Tone {
  if (state === 'ready') return 'ready';
  if (state === 'failed') return 'failed';
  if (state === 'stopped') return 'off';
  return state === 'draining' || state === 'stopping' ? 'waiting' : 'working';
}

export function requestTone(status: RequestRecord['status']): Tone {
  if (status === 'completed') return 'ready';
  if (status === 'running') return 'working';
  if (status === 'failed') return 'failed';
  return status === 'cancelled' ? 'off' : 'waiting';
}

/** What is worth a tile: anything that was started. */
export function isShown(server: Server): boolean {
  return server.state !== 'stopped';
}

/** Whether it can answer; what does not answer has no speed, which is not 0. */
export function answers(server: Server): boolean {
  return server.state === 'ready' || server.state === 'draining';
}

/** The name of a model without what is the same for all. */
export function shortModel(model: string | null | undefined): string {
  return model?.split('/').pop() ?? '';
}

/** What may help, from the reason and the last lines. */
export function hint(server: Server, t: Dictionary['servers']): string {
  const said = [server.error ?? '', ...server.log_tail].join('\n').toLowerCase();
  if (/out of memory|insufficient_memory|\boom\b|cannot allocate|metal.*alloc/.test(said)) return t.hintMemory;
  if (/no such file|not found|does not exist|repository not found|not.*cached/.test(said)) return t.hintMissing;
  if (/engine|pip|venv|python/.test(server.error?.toLowerCase() ?? '')) return t.hintEngine;
  return t.hintLogs;
}

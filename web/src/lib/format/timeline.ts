// Where the time of a request went: pure.
import type { RequestRecord } from '$lib/api/types';

export interface Phase {
  id: 'queue' | 'startup' | 'prefill' | 'decode';
  ms: number;
}

/** Queue and start come before the first token; what is left until it, the prompt took. */
export function phases(request: Pick<RequestRecord, 'queue_ms' | 'start_ms' | 'ttft_ms' | 'duration_ms'>): Phase[] {
  const queue = request.queue_ms ?? 0;
  const startup = request.start_ms ?? 0;
  const end = request.duration_ms;
  const first = request.ttft_ms ?? end;
  if (end == null || first == null) return [];
  const all: Phase[] = [
    { id: 'queue', ms: queue },
    { id: 'startup', ms: startup },
    { id: 'prefill', ms: Math.max(0, first - queue - startup) },
    { id: 'decode', ms: request.ttft_ms == null ? 0 : Math.max(0, end - first) },
  ];
  return all.filter((phase) => phase.ms >= 0.5);
}

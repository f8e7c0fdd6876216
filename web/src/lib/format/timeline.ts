// Where the time of a request went: pure.
import type { Attempt, RequestRecord } from '$lib/api/types';

export interface Phase {
  id: 'queue' | 'startup' | 'prefill' | 'decode' | 'tool' | 'again';
  /** After the request's beginning. */
  from: number;
  ms: number;
  /** Of the tool. */
  name?: string;
  failed?: boolean;
}

type Timed = Pick<RequestRecord, 'queue_ms' | 'start_ms' | 'ttft_ms' | 'duration_ms' | 'started_at_ms'> & {
  attempts: Pick<Attempt, 'backend' | 'status' | 'started_at_ms' | 'duration_ms'>[];
};

const TOOL = 'tool:';
/** A wait that takes less is not worth a line; a call of a tool always is. */
const SHOWN_MS = 0.5;

/**
 * Queue and start come before the first token; what is left until it, the prompt took. A model's answer that calls
 * tools is followed by them, and by the answer to what they said.
 */
export function phases(request: Timed): Phase[] {
  const end = request.duration_ms;
  if (end == null) return [];
  const queue = request.queue_ms ?? 0;
  const startup = request.start_ms ?? 0;
  const first = request.ttft_ms ?? null;
  const at = (one: Timed['attempts'][number]) => Math.max(0, one.started_at_ms - request.started_at_ms);
  const rounds = request.attempts.length > 1 ? request.attempts : [];
  const all: Phase[] = [
    { id: 'queue', from: 0, ms: queue },
    { id: 'startup', from: queue, ms: startup },
  ];
  const waited = queue + startup;
  // Tokens that come after a tool are an answer too.
  const ends = (i: number) => (i < rounds.length - 1 ? Math.min(end, at(rounds[i]!) + rounds[i]!.duration_ms) : end);
  if (!rounds.length) all.push(...answered(waited, end, first));
  rounds.forEach((one, i) => {
    const from = i === 0 ? waited : at(one);
    if (one.backend.startsWith(TOOL))
      all.push({ id: 'tool', from, ms: one.duration_ms, name: one.backend.slice(TOOL.length), failed: one.status !== 'completed' });
    else if (one.status !== 'completed' && i < rounds.length - 1) all.push({ id: 'again', from, ms: ends(i) - from, failed: true });
    else all.push(...answered(from, ends(i), first));
  });
  return all.filter((phase) => phase.id === 'tool' || phase.ms >= SHOWN_MS);
}

/** A model's work from one moment to another, in which its first token may have come. */
function answered(from: number, end: number, first: number | null): Phase[] {
  if (first === null || first >= end) return [{ id: 'prefill', from, ms: end - from }];
  const began = Math.max(from, first);
  return [
    { id: 'prefill', from, ms: began - from },
    { id: 'decode', from: began, ms: end - began },
  ];
}

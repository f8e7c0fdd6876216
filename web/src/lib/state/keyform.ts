// What a new key is to be, as its form holds it, and what a key may: pure.
import type { ApiKey, NewKey } from '$lib/api/types';
import { words } from '$lib/format/words';

export const SCOPES = ['inference', 'mcp', 'tools', 'admin-read', 'admin'];
/** Those that only administrators may give. */
const OF_ADMINS = new Set(['admin-read', 'admin']);
export const LIMITS = ['requests_per_minute', 'tokens_per_minute', 'parallel', 'tokens_per_day', 'tokens_per_month'] as const;
export type Limit = (typeof LIMITS)[number];
const DAY_MS = 86_400_000;

export interface KeyDraft {
  name: string;
  scopes: string[];
  /** As typed: separated by commas. */
  profiles: string;
  tools: string;
  days: number | null;
  limits: Record<Limit, number | null>;
}

export function blank(): KeyDraft {
  const limits = { requests_per_minute: null, tokens_per_minute: null, parallel: null, tokens_per_day: null, tokens_per_month: null };
  return { name: '', scopes: ['inference'], profiles: '', tools: '', days: null, limits };
}

export const offered = (admin: boolean): string[] => SCOPES.filter((scope) => admin || !OF_ADMINS.has(scope));

/** `first`: it closes a gateway that was open, so it has to administer it. */
export function bodyOf(draft: KeyDraft, first: boolean, now: number): NewKey {
  const [profiles, tools] = [words(draft.profiles), words(draft.tools)];
  const set = LIMITS.flatMap((limit) => (draft.limits[limit] ? [[limit, draft.limits[limit]] as const] : []));
  return {
    name: draft.name.trim(),
    scopes: first ? ['inference', 'mcp', 'tools', 'admin'] : draft.scopes,
    ...(profiles.length && { profiles }),
    ...(tools.length && { tools }),
    ...(draft.days && { expires_at: new Date(now + draft.days * DAY_MS).toISOString() }),
    ...Object.fromEntries(set),
  };
}

/** Whether a key may ask a profile now. */
export function mayAsk(key: Pick<ApiKey, 'status' | 'scopes' | 'profiles'>, profile: string): boolean {
  return key.status === 'active' && key.scopes.includes('inference') && (!key.profiles || key.profiles.includes(profile));
}

// A profile as the form holds it, and the way to and from the API: pure.
import type { Profile } from '$lib/api/types';
import { seconds } from '$lib/format/toml';
import { words } from '$lib/format/words';

/** Texts as they stand in the fields; an empty one means "not set". */
export interface Draft {
  name: string;
  model: string;
  description: string;
  aliases: string;
  system_prompt: string;
  temperature: string;
  top_p: string;
  top_k: string;
  max_tokens: string;
  repetition_penalty: string;
  context_length: string;
  keep_alive: string;
  max_concurrent: string;
  tools: string;
  structured: boolean;
  pinned: boolean;
  preload: boolean;
}

export const GENERATION = ['temperature', 'top_p', 'top_k', 'max_tokens', 'repetition_penalty'] as const;

export function draftOf(profile: Partial<Profile> & { name?: string }): Draft {
  const text = (value: unknown) => (value === null || value === undefined ? '' : String(value));
  const defaults = profile.defaults ?? {};
  return {
    name: profile.name ?? '',
    model: profile.model ?? '',
    description: profile.description ?? '',
    aliases: (profile.aliases ?? []).join(', '),
    system_prompt: profile.system_prompt ?? '',
    temperature: text(defaults.temperature),
    top_p: text(defaults.top_p),
    top_k: text(defaults.top_k),
    max_tokens: text(defaults.max_tokens),
    repetition_penalty: text(defaults.repetition_penalty),
    context_length: text(profile.context_length),
    keep_alive: profile.keep_alive_s === undefined ? '' : seconds(profile.keep_alive_s),
    max_concurrent: text(profile.max_concurrent),
    tools: (profile.tools ?? []).join(', '),
    structured: profile.structured ?? false,
    pinned: profile.pinned ?? false,
    preload: profile.preload ?? false,
  };
}

/** What is sent. Defaults that the form does not know stay as they are. */
export function bodyOf(draft: Draft, base: Record<string, unknown> = {}): Record<string, unknown> {
  const number = (text: string) => (text.trim() === '' ? null : Number(text));
  const defaults: Record<string, unknown> = { ...base };
  for (const key of GENERATION) {
    const value = number(draft[key]);
    if (value === null) delete defaults[key];
    else defaults[key] = value;
  }
  const body: Record<string, unknown> = {
    name: draft.name.trim(),
    model: draft.model.trim(),
    description: draft.description.trim() || null,
    aliases: words(draft.aliases),
    system_prompt: draft.system_prompt || null,
    context_length: number(draft.context_length),
    defaults,
    keep_alive: draft.keep_alive.trim() || null,
    max_concurrent: number(draft.max_concurrent),
    tools: words(draft.tools),
    structured: draft.structured,
    pinned: draft.pinned,
    preload: draft.preload,
  };
  for (const [key, value] of Object.entries(body)) if (value === null) delete body[key];
  return body;
}

/** Fields in which two drafts differ, in the form's order. */
export function changes(before: Draft, after: Draft): (keyof Draft)[] {
  return (Object.keys(after) as (keyof Draft)[]).filter((key) => before[key] !== after[key]);
}

/** Of these only the process knows at its start. */
export const LAUNCH: (keyof Draft)[] = ['model', 'context_length', 'structured'];

// How models are shown and filtered: pure.
import type { Facts, Model } from '$lib/api/types';
import { matches } from '$lib/format';

export interface Filters {
  q: string;
  architecture: string;
  quantization: string;
  kind: '' | 'text' | 'multimodal';
  tools: boolean;
  thinking: boolean;
  mcp: boolean;
  fits: boolean;
}

export function multimodal(facts: Facts | null | undefined): boolean | null {
  if (!facts) return null;
  if (facts.input) return facts.input.value.some((modality) => modality !== 'text');
  return facts.kind === 'multimodal' ? true : null;
}

export function thinks(facts: Facts | null | undefined): boolean | null {
  return facts?.thinking ? facts.thinking.value !== 'no' : null;
}

export function architecture(facts: Facts | null | undefined): string {
  return facts?.model_type || facts?.architectures[0] || '';
}

/** Whether a model passes; the same on both tabs. Unknown does not pass a filter that asks for yes. */
export function passes(model: Model, filters: Filters, searched = false): boolean {
  const facts = model.facts;
  if (!searched && !matches(filters.q, model.id, architecture(facts), facts?.quantization?.value.label)) return false;
  if (filters.architecture && architecture(facts) !== filters.architecture) return false;
  if (filters.quantization && facts?.quantization?.value.label !== filters.quantization) return false;
  if (filters.kind && multimodal(facts) !== (filters.kind === 'multimodal')) return false;
  if (filters.tools && facts?.tool_use?.value !== true) return false;
  if (filters.thinking && thinks(facts) !== true) return false;
  if (filters.mcp && facts?.mcp_ready?.value !== true) return false;
  return !filters.fits || model.fit?.fit === 'yes';
}

/** What a filter may choose from. */
export function choices(models: Model[], of: (facts: Facts) => string | undefined): string[] {
  const all = models.flatMap((model) => (model.facts ? [of(model.facts)] : []));
  return [...new Set(all.filter((value): value is string => Boolean(value)))].sort();
}

/** A name for a profile, out of a model's. */
export function profileName(model: string): string {
  const last = model.split('/').pop() ?? model;
  return (
    last
      .toLowerCase()
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^[-.]+|[-.]+$/g, '')
      .slice(0, 64) || 'model'
  );
}

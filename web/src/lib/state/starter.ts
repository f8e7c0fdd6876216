// Which model to propose to somebody who has none: pure.
import type { Fit } from '$lib/api/types';

export interface Starter {
  id: string;
  label: string;
  /** Weights, KV cache of one conversation and the process, roughly. */
  needBytes: number;
  strengths: 'small' | 'everyday' | 'strong';
}

export const DEMO = 'builtin:demo';
/** From small to large. */
export const STARTERS: Starter[] = [
  { id: 'mlx-community/Qwen3-1.7B-4bit', label: 'Qwen3 1.7B', needBytes: 2.2e9, strengths: 'small' },
  { id: 'mlx-community/Qwen3-4B-4bit', label: 'Qwen3 4B', needBytes: 4e9, strengths: 'everyday' },
  { id: 'mlx-community/Qwen3-8B-4bit', label: 'Qwen3 8B', needBytes: 6.5e9, strengths: 'everyday' },
  { id: 'mlx-community/Qwen3-30B-A3B-4bit', label: 'Qwen3 30B A3B', needBytes: 19e9, strengths: 'strong' },
];

/** A model may take this part of the budget, so that something is left for others. */
const COMFORT = 0.6;

export function verdict(starter: Starter, budgetBytes: number): Fit['fit'] {
  if (starter.needBytes <= budgetBytes * COMFORT) return 'yes';
  return starter.needBytes <= budgetBytes ? 'tight' : 'no';
}

/** The largest that fits comfortably; the demo model where none does. */
export function proposal(budgetBytes: number): string {
  return STARTERS.filter((starter) => verdict(starter, budgetBytes) === 'yes').at(-1)?.id ?? DEMO;
}

import type { Dictionary } from './index.svelte';
import { en } from './en';
export const de: Dictionary = en;

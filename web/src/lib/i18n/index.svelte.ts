// The language of the page. Dictionaries are typed objects: a word that one language lacks does not
// compile. What the first screen says in English is always there; other screens and languages fetch theirs.
import { en } from './en';
import type { more } from './en.more';

type Words<T> = {
  [K in keyof T]: T[K] extends string ? string : T[K] extends (...args: infer A) => string ? (...args: A) => string : Words<T[K]>;
};
/** What the frame and the first screen say. */
export type First = Words<typeof en>;
/** What all the others say. */
export type More = Words<typeof more>;
export type Dictionary = First & More;
export type Language = 'en' | 'de';

export const LANGUAGES: Record<Language, string> = { en: 'English', de: 'Deutsch' };
const KEY = 'mlx-gateway.language';
const FIRST: Record<Language, () => Promise<First>> = { en: async () => en, de: async () => (await import('./de')).de };
const MORE: Record<Language, () => Promise<More>> = {
  en: async () => (await import('./en.more')).more,
  de: async () => (await import('./de.more')).more,
};

class I18n {
  language = $state<Language>('en');
  /** The words of other screens are there once `more` was: a test holds the first screen to its own. */
  t = $state.raw(en as Dictionary);
  #more = false;

  get locale(): string {
    return this.language;
  }

  /** Brings what every screen but the first says; at once where it is there. */
  async more(): Promise<void> {
    if (this.#more) return;
    const words = await MORE[this.language]();
    this.t = { ...this.t, ...words };
    this.#more = true;
  }

  async set(language: Language, keep = true): Promise<void> {
    const [first, more] = await Promise.all([FIRST[language](), this.#more ? MORE[language]() : undefined]);
    this.t = { ...first, ...more } as Dictionary;
    this.language = language;
    document.documentElement.lang = language;
    if (!keep) return;
    try {
      localStorage.setItem(KEY, language);
    } catch {
      // Storage is closed: the choice holds until the page is left.
    }
  }

  /** The language chosen earlier, else the browser's. */
  async start(): Promise<void> {
    let kept: string | null;
    try {
      kept = localStorage.getItem(KEY);
    } catch {
      kept = null;
    }
    const wanted = kept ?? navigator.language.slice(0, 2);
    if (wanted === 'de') await this.set('de', false);
  }
}

export const i18n = new I18n();

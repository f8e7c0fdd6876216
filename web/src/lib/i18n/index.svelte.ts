// The language of the page. Dictionaries are typed objects: a word that one language lacks does not
// compile. English is always there, another is fetched when it is chosen.
import { en } from './en';

type Words<T> = { [K in keyof T]: T[K] extends string ? string : T[K] extends (...args: infer A) => string ? (...args: A) => string : Words<T[K]> };
export type Dictionary = Words<typeof en>;
export type Language = 'en' | 'de';

export const LANGUAGES: Record<Language, string> = { en: 'English', de: 'Deutsch' };
const KEY = 'mlx-gateway.language';

class I18n {
  language = $state<Language>('en');
  t = $state.raw<Dictionary>(en);

  get locale(): string {
    return this.language;
  }

  async set(language: Language, keep = true): Promise<void> {
    this.t = language === 'de' ? (await import('./de')).de : en;
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
    let kept: string | null = null;
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

// What somebody chose for this machine: the theme.

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'mlx-gateway.theme';

class Preferences {
  theme = $state<Theme>(read());

  set(theme: Theme): void {
    this.theme = theme;
    const root = document.documentElement;
    if (theme === 'system') delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Storage is closed: the choice holds until the page is left.
    }
  }
}

function read(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === 'light' || kept === 'dark' ? kept : 'system';
  } catch {
    return 'system';
  }
}

export const preferences = new Preferences();

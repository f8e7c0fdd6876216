// Before the first paint: the theme and language chosen earlier. A file of its own, since the page's
// policy allows no inline script.
(function () {
  try {
    var theme = localStorage.getItem('mlx-gateway.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
    var language = localStorage.getItem('mlx-gateway.language');
    if (language) document.documentElement.lang = language;
  } catch {
    // Storage is closed: the system's theme holds.
    document.documentElement.dataset.storage = 'closed';
  }
})();

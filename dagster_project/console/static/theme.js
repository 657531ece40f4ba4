// Before the first paint, so that a dark page never flashes white.
const THEME = "cdp-theme"
try {
  const chosen = localStorage.getItem(THEME)
  if (chosen) document.documentElement.dataset.theme = chosen
} catch { /* no storage: as the system */ }

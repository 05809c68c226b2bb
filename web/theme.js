// Runs before the first paint, so that a chosen theme does not flash. A classic script: modules run too late.
"use strict";
try {
  const theme = localStorage.getItem("devstatus.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be forbidden; the system's preference applies.
}

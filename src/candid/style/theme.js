// Light or dark, on every page: the choice that was kept, else the system's, and the button for it.
(function () {
  "use strict";
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  root.classList.add("scripts");
  try {
    const kept = localStorage.getItem("candid-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {
    // A browser that keeps nothing for local files: the choice then lasts as long as the page.
  }
  const other = () => ((root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark");
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => {
      button.textContent = other() === "dark" ? "Dark" : "Light";
      button.setAttribute("aria-label", `Switch to ${other()} colours`);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = other();
      try {
        localStorage.setItem("candid-theme", root.dataset.theme);
      } catch {
        // Not kept, still switched.
      }
      name();
    });
    dark.addEventListener("change", name);
    name();
  });
})();

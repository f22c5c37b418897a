// Before anything is drawn: the choice that was kept, or the system's.
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("scripts");
  try {
    var kept = localStorage.getItem("candid-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch (error) {
    // A browser that keeps nothing for local files: the toggle then lasts as long as the page.
  }
})();

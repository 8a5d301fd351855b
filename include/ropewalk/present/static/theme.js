(function () {
  "use strict";
  var chosen = null;
  try { chosen = localStorage.getItem("ropewalk-theme"); } catch (_) { /* a page in a file may not remember */ }
  var dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

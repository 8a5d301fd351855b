// Draws every chart that the page holds as JSON, in the page's colours, and again when these change.
(function () {
  "use strict";
  var root = document.documentElement;
  var colour = function (name) { return getComputedStyle(root).getPropertyValue(name).trim(); };

  function look() {
    var ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
    return {
      background: "transparent",
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: null },
      axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line,
              titleFontWeight: 500, labelFontSize: 11, titleFontSize: 11, titlePadding: 8, labelFlush: false },
      legend: { labelColor: soft, titleColor: soft, titleFontWeight: 500, orient: "top" },
      text: { color: ink },
      mark: { color: colour("--accent") },
      range: { category: ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6"].map(colour) }
    };
  }

  function draw(place) {
    var spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    var tooltip = { theme: root.dataset.theme === "dark" ? "dark" : "light" };
    return window.vegaEmbed(place, spec, {
      ast: true, actions: false, renderer: "svg", config: look(), tooltip: tooltip
    }).catch(function (error) {
      place.textContent = "This chart could not be drawn: " + error.message;
    });
  }

  function drawAll() {
    Promise.all(Array.from(document.querySelectorAll(".plot"), draw)).then(function () {
      root.dataset.drawn = "yes";
    });
  }

  document.getElementById("theme").addEventListener("click", function () {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("ropewalk-theme", root.dataset.theme); } catch (_) { /* then not */ }
    drawAll();
  });
  drawAll();
})();

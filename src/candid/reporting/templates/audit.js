
(() => {
  // What is asked for decides which rows of a table show, and which lines of its chart.
  for (const filter of document.querySelectorAll(".filter")) {
    const table = document.getElementById(filter.dataset.table);
    const chart = document.getElementById(filter.dataset.chart || "")?.querySelector(".chart");
    const word = filter.querySelector("[type=search]");
    const found = filter.querySelector("[type=checkbox]");
    const show = () => {
      const asked = word.value.trim().toLowerCase();
      const asks = asked.split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        row.hidden = !asks.every((one) => row.dataset.group.includes(one))
          || (found.checked && row.dataset.state !== "found");
      }
      if (chart && chart.view) {
        const drawn = Object.values(chart.spec.datasets).flat();
        const lines = drawn.filter((line) => "asked" in line && (!found.checked || line.state === "found")
          && (asked ? line.asked.includes(asked) : found.checked || line.shown)).length;
        chart.view.signal("asked", asked).signal("only_found", found.checked)
          .height(17 * Math.max(lines, 1) + 20).runAsync();
      }
    };
    word.addEventListener("input", show);
    found.addEventListener("change", show);
    if (chart) chart.addEventListener("drawn", show);
  }
})();

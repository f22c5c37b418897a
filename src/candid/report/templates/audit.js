
(() => {
  const table = document.getElementById("audit-groups");
  if (!table) return;
  const word = document.getElementById("audit-filter");
  const found = document.getElementById("audit-found");
  const show = () => {
    const asked = word.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.dataset.group.includes(asked) || (found.checked && row.dataset.state !== "found");
    }
  };
  word.addEventListener("input", show);
  found.addEventListener("change", show);
})();

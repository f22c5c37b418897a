(function () {
  "use strict";

  // --- contents: open beside a wide page, folded above a narrow one -----------------------------
  const contents = document.querySelector("nav details");
  const beside = matchMedia("(min-width: 70rem)");
  const fold = () => { contents.open = beside.matches; };
  beside.addEventListener("change", fold);
  fold();
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !beside.matches) contents.open = false;
  });

  // --- what to do next: on a phone three titles, so that all are on its first screen --------------
  const actions = document.querySelectorAll(".action");
  if (matchMedia("(max-width: 43.99rem)").matches) for (const action of actions) action.open = false;

  const links = new Map();
  for (const link of contents.querySelectorAll("a")) links.set(link.hash.slice(1), link);
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));

  // --- tables that sort -------------------------------------------------------------------------
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  // Undefined stays at the end, whichever way the rest goes.
  const compare = (a, b, way) => {
    const undefinedA = Number.isNaN(a), undefinedB = Number.isNaN(b);
    if (undefinedA || undefinedB) return undefinedA - undefinedB;
    return way * (typeof a === "number" ? a - b : a.localeCompare(b));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows];
        rows.sort((a, b) => compare(value(a, column), value(b, column), way));
        body.append(...rows);
      });
    });
  }

  // --- copy -------------------------------------------------------------------------------------
  for (const button of document.querySelectorAll("button.copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = "Not allowed";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // --- charts: the drawing stays until the live one stands --------------------------------------
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme: "candid" },
  };
  let library;
  const unpacked = async () => {
    const [code, specs] = await Promise.all([candidPacked.text("packed-vega"), candidPacked.text("packed-charts")]);
    const script = document.createElement("script"); // the policy knows it by its digest
    script.textContent = code;
    document.head.append(script);
    return JSON.parse(specs);
  };
  const draw = async (chart) => {
    const live = chart.querySelector(".live");
    try {
      chart.classList.add("drawing");
      library ??= unpacked();
      chart.spec = (await library)[chart.dataset.chart];
      chart.view = (await vegaEmbed(live, chart.spec, options)).view;
      chart.classList.add("drawn");
      chart.dispatchEvent(new Event("drawn"));
    } catch (error) {
      console.error(chart.id, error);
    } finally {
      chart.classList.remove("drawing");
    }
  };
  // A chart in a closed fold has no width to draw to; it is drawn when it comes into sight.
  const sight = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "600px 0px" });
  for (const chart of document.querySelectorAll(".chart")) {
    if (candidPacked.able) sight.observe(chart); // else the drawing serves
  }

  // --- what is linked to unfolds ----------------------------------------------------------------
  const reveal = () => {
    const aim = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!aim) return;
    for (let at = aim; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    aim.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // --- print: the paragraphs and figures; the appendix where it is asked for, then as it was ------
  let whole = new URLSearchParams(location.search).has("appendix");
  let turned = [];
  addEventListener("beforeprint", () => {
    turned = [...document.querySelectorAll("main details:not(.action)")].filter((fold) => fold.open !== whole);
    for (const fold of turned) fold.open = whole;
    for (const action of actions) action.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of turned) fold.open = !whole;
    turned = [];
  });
  document.getElementById("print-all")?.addEventListener("click", () => {
    const before = whole;
    whole = true;
    addEventListener("afterprint", () => { whole = before; }, { once: true });
    print();
  });
})();

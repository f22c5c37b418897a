// One picture at a time, or a page of several of which some are selected: the choice is sent to this
// server, which answers with what comes next.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const list = (node, texts) => node.replaceChildren(...texts.map((t) => element("li", t)));

  let state = null;
  let busy = false;
  let since = 0;
  let selected = new Set();  // of a page, the numbers of those that are selected

  // --- asking the server ------------------------------------------------------------------------
  const ask = async (address, body) => {
    const options = { cache: "no-store" };
    if (body !== undefined) {
      options.method = "POST";
      options.headers = { "Content-Type": "application/json" };
      options.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("The server does not answer. What was decided is kept: start candid review "
        + "again, and open the address that it gives.");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error((answer.error || {}).what || `The server answered ${response.status}.`);
    return answer;
  };

  const during = async (work) => {
    if (busy) return;
    busy = true;
    document.body.setAttribute("aria-busy", "true");
    try {
      await work();
      $("problem").hidden = true;
    } catch (error) {
      $("problem").textContent = error.message;
      $("problem").hidden = false;
    } finally {
      busy = false;
      document.body.removeAttribute("aria-busy");
    }
  };

  // --- pictures: the next ones are loaded while this one is looked at -----------------------------
  let loaded = new Map();
  const load = (place) => {
    if (!loaded.has(place)) {
      const image = new Image();
      image.decoding = "async";
      image.src = `picture/${place}`;
      loaded.set(place, image);
    }
    return loaded.get(place);
  };
  const picture = (image, words, tag) => {
    const gone = () => element(tag, "This picture cannot be read.", "gone");
    image.alt = words;
    image.onerror = () => image.replaceWith(gone());
    return image.complete && image.src && !image.naturalWidth ? gone() : image;
  };
  const figure = (place, words, caption, image = load(place)) => {
    const made = element("figure");
    made.append(picture(image, words, "p"));
    if (caption) made.append(element("figcaption", caption));
    return made;
  };
  // One of its own: the same picture may stand elsewhere on the page, too.
  const nearest = ([place, label], i) => {
    const image = new Image();
    image.src = `picture/${place}`;
    return figure(place, `A training picture near the last one: number ${i + 1}`, label, image);
  };
  const keepOnly = (showings) => {
    const wanted = new Set(showings.filter(Boolean).flatMap((s) => [...s.pictures, ...s.companions]));
    loaded = new Map([...loaded].filter(([place]) => wanted.has(place)));
    wanted.forEach(load);
  };

  // --- what can be chosen -------------------------------------------------------------------------
  const isPage = () => Boolean(state.showing && state.showing.numbers);
  const isFiles = () => Boolean(state.showing && state.showing.files);
  const isPair = () => !isPage() && state.showing.pictures.length > 1;
  const classKey = (k) => (state.classes.length === 2 ? ["←", "→"][k] : k < 9 ? String(k + 1) : "");
  const options = () => {
    if (isPair()) {
      return [
        { label: "Same picture: keep the first", key: "←", keys: ["arrowleft", "1"], kind: "first" },
        { label: "Same picture: keep the second", key: "→", keys: ["arrowright", "2"], kind: "second" },
        { label: "Not the same: keep both", key: "space", keys: [" "], kind: "both" },
      ];
    }
    const classes = state.classes.map((name, k) => ({
      label: name, key: classKey(k), kind: "label", now: name, own: true,
      keys: [...(k < 9 ? [String(k + 1)] : []),
        ...(state.classes.length === 2 ? [["arrowleft", "arrowright"][k]] : [])],
    }));
    const leaveOut = { label: "Leave the picture out", key: "x", keys: ["x"], kind: "leave out" };
    if (isPage()) {
      leaveOut.label = "Leave out";
      const own = isFiles()
        ? [leaveOut, { label: "Keep", key: "k", keys: ["k"], kind: "keep" }]
        : [...classes, { label: "Cannot say", key: "c", keys: ["c"], kind: "cannot say" }, leaveOut];
      return [...own, { label: "Select all, or none", key: "a", keys: ["a"], kind: "all", run: selectAll }];
    }
    const person = { label: "Not the person of the small pictures", key: "p", keys: ["p"], kind: "person" };
    return [
      ...classes,
      { label: "Cannot say", key: "space", keys: [" "], kind: "cannot say" },
      leaveOut,
      ...(state.showing.companions.length ? [person] : []),
    ];
  };

  const decide = (option) => during(async () => {
    const decision = {
      number: state.showing.number, kind: option.kind, now: option.now || "",
      seconds: (performance.now() - since) / 1000,
    };
    if (isPage()) {
      decision.chosen = [...selected];
      if (!selected.size) throw new Error("Nothing is selected: select some, or all with a.");
    }
    const answer = await ask("decide", decision);
    if (option.kind === "person") announce("Noted: another person.");
    show(answer, answer.told);
    if (answer.told) showNear((decision.chosen || [decision.number]).sort((a, b) => a - b));
  });
  const undo = () => during(async () => {
    const before = state.showing && state.showing.number;
    const answer = await ask("undo", {});
    showLast(null);
    showNear([]);
    show(answer, null);
    announce(answer.showing && answer.showing.number === before ? "Taken back."
      : "Taken back: the picture before.");
  });

  // --- a page of several --------------------------------------------------------------------------
  const mark = () => {
    for (const tile of $("tiles").children) {
      tile.setAttribute("aria-pressed", String(selected.has(Number(tile.dataset.number))));
    }
    $("hint").textContent = `${selected.size} of ${state.showing.numbers.length} selected. `
      + "Select those about which you would say the same, then choose.";
  };
  const toggle = (number) => {
    if (!selected.delete(number)) selected.add(number);
    mark();
  };
  const selectAll = () => {
    const every = state.showing.numbers;
    selected = new Set(selected.size < every.length ? every : []);
    mark();
    announce(`${selected.size} selected.`);
  };
  const tile = (number, i) => {
    const made = element("button", undefined, "tile");
    made.type = "button";
    made.dataset.number = number;
    if (isFiles()) {
      const [name, reason] = state.showing.files[i];
      made.append(element("span", name, "name"), element("span", reason, "reason"));
    } else {
      made.append(picture(load(state.showing.pictures[i]), `Picture ${i + 1}`, "span"));
    }
    made.addEventListener("click", () => toggle(number));
    return made;
  };
  const showTiles = () => {
    const within = $("tiles").contains(document.activeElement);
    selected = new Set();
    $("tiles-block").hidden = !isPage();
    $("tiles").classList.toggle("files", isFiles());
    $("work").classList.toggle("several", isPage());
    $("tiles").replaceChildren(...(isPage() ? state.showing.numbers.map(tile) : []));
    if (isPage()) mark();
    if (within) ($("tiles").firstElementChild || $("choices")).focus();
  };
  const move = (by) => {
    const tiles = [...$("tiles").children];
    const at = tiles.indexOf(document.activeElement);
    tiles[at < 0 ? 0 : Math.min(Math.max(at + by, 0), tiles.length - 1)].focus();
  };

  // --- what is seen and heard ---------------------------------------------------------------------
  const announce = (text) => { $("live").textContent = text; };

  const button = (option) => {
    const made = element("button", undefined, option.own ? "class" : "");
    made.type = "button";
    made.dataset.kind = option.kind;
    made.append(element("span", option.label));
    if (option.key) {
      const key = element("kbd", option.key);
      key.setAttribute("aria-hidden", "true");
      made.append(key);
    }
    const named = option.key === "←" ? "ArrowLeft" : option.key === "→" ? "ArrowRight"
      : option.key === "space" ? "Space" : option.key;
    if (named) made.setAttribute("aria-keyshortcuts", named);
    made.addEventListener("click", (event) => {
      if (event.detail > 0) made.blur();  // or the space bar would press it again
      option.run ? option.run() : decide(option);
    });
    return made;
  };

  const showLast = (told) => {
    $("last").hidden = !told;
    if (!told) return;
    const several = Boolean(told.captions);
    $("last-title").textContent = several ? "The last ones" : "The last one";
    $("last-body").classList.toggle("several", several || !told.pictures.length);
    $("last-picture").replaceChildren(...told.pictures.map((place, i) =>
      figure(place, several ? `Decided before: picture ${i + 1}` : "The last picture",
        several ? told.captions[i] : "")));
    list($("last-lines"), told.lines);
    $("nearest-block").hidden = true;
    $("nearest").replaceChildren();
  };
  // The server seeks them while pictures are decided: it is asked until it has them, or the next is told.
  let newest = 0;
  const showNear = async (numbers) => {
    const mine = ++newest;
    if (!numbers.length) return;
    let near = null;
    while (!near) {
      try {
        near = (await ask(`near?numbers=${numbers.join()}`)).near;
      } catch {
        return;  // what follows tells of it
      }
      if (!near) await new Promise((done) => setTimeout(done, 300));
      if (mine !== newest) return;
    }
    if ($("last-body").classList.contains("several")) {
      $("last-picture").querySelectorAll("figcaption").forEach((caption, i) => caption.append(` ${near[i].caption}`));
      return;
    }
    if (near[0].line) $("last-lines").append(element("li", near[0].line));
    $("nearest-block").hidden = !near[0].pictures.length;
    $("nearest").replaceChildren(...near[0].pictures.map(nearest));
  };

  const showChoices = () => {
    const focused = document.activeElement && document.activeElement.dataset.kind
      ? [...$("choices").children].indexOf(document.activeElement) : -1;
    const made = options().map(button);
    const back = button({ label: "Take the last one back", key: "u", kind: "undo", run: undo });
    back.disabled = !state.undo;
    $("choices").replaceChildren(...made, back);
    if (focused >= 0) ($("choices").children[focused] || $("choices")).focus();
  };

  const show = (answer, told) => {
    const which = (showing) => showing && [showing.number, ...(showing.numbers || [])].join();
    const same = state && answer.showing && which(state.showing) === which(answer.showing);
    state = answer;
    if (told) showLast(told);
    $("progress").textContent = `${state.done} of ${state.total}`;
    $("bar").style.setProperty("width", `${100 * state.done / Math.max(1, state.total)}%`);
    const over = !state.showing;
    $("work").hidden = over;
    $("end").hidden = !over;
    if (over) {
      $("question").textContent = "All is decided";
      list($("summary"), state.summary);
      $("end-undo").hidden = !state.undo;
      announce("All is decided.");
      $("main").focus();
      return;
    }
    const question = isFiles() ? "These files cannot be read. Leave them out?"
      : isPair() ? "Are these the same picture?" : `What would you write for “${state.target}”?`;
    $("question").textContent = question;
    const names = isPair() ? ["The first picture", "The second picture"] : ["The picture to decide about"];
    const alone = isPage() ? [] : state.showing.pictures;
    $("pictures").replaceChildren(...alone.map((place, i) =>
      figure(place, names[i], isPair() ? ["first", "second"][i] : "")));
    showTiles();
    $("companions-block").hidden = !state.showing.companions.length;
    $("companions").replaceChildren(...state.showing.companions.map((place, i) =>
      figure(place, `Said to be the same person: picture ${i + 1}`)));
    showChoices();
    keepOnly([state.showing, state.next]);
    if (same) return;
    since = performance.now();
    const next = isFiles() ? `Next: ${state.showing.files.length} files.`
      : isPage() ? `Next: ${state.showing.pictures.length} pictures on a page.`
        : `Next: picture ${state.done + 1} of ${state.total}.`;
    if (told) announce([...told.lines, next].join(" "));
  };

  // --- the keyboard -------------------------------------------------------------------------------
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !state) return;
    const key = event.key.toLowerCase();
    const pressed = event.target.closest && event.target.closest("button, summary, a");
    if (pressed && (key === " " || key === "enter")) return;  // it presses that
    if (key === "u" && state.undo) {
      event.preventDefault();
      undo();
      return;
    }
    if (isPage() && (key === "arrowup" || key === "arrowdown")) {
      event.preventDefault();
      move(key === "arrowup" ? -1 : 1);
      return;
    }
    const option = state.showing && options().find((o) => o.keys.includes(key));
    if (!option) return;
    event.preventDefault();
    option.run ? option.run() : decide(option);
  });
  $("end-undo").addEventListener("click", undo);
  $("so-far").addEventListener("toggle", () => {
    if ($("so-far").open) during(async () => list($("so-far-lines"), (await ask("summary")).summary));
  });

  during(async () => {
    show(await ask("state"), null);
    announce($("question").textContent);
  });
})();

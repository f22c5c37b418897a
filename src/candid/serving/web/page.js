// The page: one picture at a time, sent to this server, and what the server says about it.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id);

  // --- small helpers ----------------------------------------------------------------------------
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const percent = (p) => {
    // 100% and 0% are claims that no model can make.
    const rounded = (100 * p).toFixed(1);
    if (rounded === "100.0" && p < 1) return "> 99.9%";
    if (rounded === "0.0" && p > 0) return "< 0.1%";
    return rounded + "%";
  };
  const list = (node, texts) => node.replaceChildren(...texts.map((t) => element("li", t)));

  // --- asking the server ------------------------------------------------------------------------
  class Problem extends Error {
    constructor(status, error) {
      super(error.what);
      this.status = status;
      this.error = error;
    }
  }

  const ask = async (address, options = {}) => {
    let response;
    try {
      response = await fetch(address, { ...options, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, { what: "The server does not answer.", todo: "See whether it still runs." });
    }
    const body = await response.json().catch(() => ({}));
    if (!response.ok) {
      const error = body.error || { what: `The server answered ${response.status}.`, todo: "" };
      if (response.status === 401) askForKey(error.code === "wrong-key" ? error.what : "");
      throw new Problem(response.status, error);
    }
    return body;
  };

  const askForKey = (note) => {
    $("key-form").hidden = false;
    $("key-note").textContent = note;
    $("key").focus();
  };
  $("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    // Kept as a cookie that no script can read: the page itself forgets the key.
    const headers = { Authorization: `Bearer ${$("key").value.trim()}` };
    try {
      await ask("key", { method: "POST", headers });
    } catch (error) {
      if (error.status !== 401) complain(error, () => {});
      return;
    }
    $("key").value = "";
    $("key-form").hidden = true;
    start();
  });

  // --- the model --------------------------------------------------------------------------------
  let models = [];
  let model = null;

  const choose = (name) => {
    model = models.find((m) => m.name === name) || models[0];
    const { about } = model;
    const several = model.labels.length;
    const what = several ? `${several} labels` : `The label “${model.target}”`;
    document.title = `${what} · Candid`;
    $("title").textContent = `${what} for a picture of a face`;
    $("lede").textContent = about.summary[0] || $("lede").textContent;
    $("meaning").textContent =
      `${several ? "These are labels" : `“${model.target}” is a label`} that ${about.is_drawn ? "a program" : "annotators"} gave to pictures. ` +
      "An answer is a guess at that label, not at who or what a person is.";
    showKnown(about);
    const methods = model.methods.map((m) => {
      const option = element("option", m.title + (m.badge === "failed" ? " (failed its checks)" : ""));
      option.value = m.name;
      return option;
    });
    const before = $("method").value;
    $("method").replaceChildren(...methods);
    const usual = model.methods.find((m) => m.badge === "passed") ||
      model.methods.find((m) => m.name === "grad_cam") || model.methods[0];
    if (model.methods.some((m) => m.name === before)) $("method").value = before;
    else if (usual) $("method").value = usual.name;
    $("explained").replaceChildren(...model.classes.map((c) => {
      const option = element("option", c);
      option.value = c;
      return option;
    }));
    $("map").hidden = true;
  };

  const showKnown = (about) => {
    $("trained-on").replaceChildren(...(about.trained_on.length
      ? about.trained_on.map((t) => element("p", t)) : [element("p", "Nothing is known of it.")]));
    const body = element("tbody");
    for (const m of about.measures) {
      const row = element("tr");
      const name = element("th", m.name);
      name.scope = "row";
      const cell = element("td", (100 * m.value).toFixed(1) + "%");
      const people = m.people === null ? "" : ` of ${m.people.toLocaleString("en")} people`;
      if (m.low !== null) {
        cell.append(element("small", `${(100 * m.low).toFixed(1)} to ${(100 * m.high).toFixed(1)}`));
      }
      cell.append(element("small", `${m.n.toLocaleString("en")} pictures${people}`));
      row.append(name, cell);
      body.append(row);
    }
    $("measures").replaceChildren(body);
    const first = about.measures[0];
    $("measures-note").textContent = first
      ? `On ${about.split} pictures. Below each figure its ${Math.round(100 * first.confidence)}% interval ` +
        `(${first.method}).`
      : "Nobody has measured it.";
    const found = about.weaknesses.map((w, i) => {
      const box = element("details", undefined, `finding is-${w.severity}`);
      box.open = i === 0; // the surest in full, the others on request
      box.append(element("summary", w.title), element("p", w.detail));
      return box;
    });
    if (about.audited && !found.length) found.push(element("p", "The audit found no group that it does worse on."));
    $("weaknesses").replaceChildren(...found, element("p", about.weakness_note, found.length ? "note" : ""));
    list($("not-for"), about.not_for);
    list($("limits"), about.limits);
    $("limits").parentElement.hidden = !about.limits.length;
    $("curl").textContent = `curl -H 'Content-Type: image/jpeg' --data-binary @face.jpg \\\n` +
      `  '${location.origin}/v1/predict?model=${encodeURIComponent(model.name)}'`;
    $("report-line").hidden = model.report === null;
    if (model.report !== null) $("report").href = model.report.slice(1); // beside this page
    $("known").hidden = false;
  };

  const start = async () => {
    try {
      const found = await ask("v1/models");
      models = found.models;
      $("model").replaceChildren(...models.map((m) => {
        const option = element("option", `${m.name} (${m.labels.length ? `${m.labels.length} labels` : m.target})`);
        option.value = m.name;
        return option;
      }));
      $("model-choice").hidden = models.length < 2;
      choose(models[0].name);
      if (picture) { frameFor(picture); answer(); }
    } catch (error) {
      if (error.status !== 401) complain(error, start);
    }
  };
  $("model").addEventListener("change", () => {
    choose($("model").value);
    if (picture) { frameFor(picture); answer(); }
  });

  // --- the picture ------------------------------------------------------------------------------
  let picture = null; // { blob, bitmap }; bitmap is null where the browser cannot read it
  const canvas = $("canvas"), stage = $("stage");
  const frame = new CropFrame($("frame"), canvas, () => answer());
  const LONGEST = 1400; // pixels that the canvas keeps; the model sees far fewer

  const aspect = () => {
    const size = model && model.about.picture_size;
    return size ? size[0] / size[1] : 1;
  };

  const take = async (blob) => {
    stopCamera();
    quietProblem();
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
    } catch { /* a kind of picture that only the server may know */ }
    picture = { blob, bitmap };
    stage.dataset.state = "picture";
    canvas.hidden = bitmap === null;
    $("no-preview").hidden = bitmap !== null;
    if (bitmap) {
      const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff"; // as the server lays what is transparent on white
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    }
    $("other").hidden = false;
    $("crop").hidden = bitmap === null;
    if (model) frameFor(picture);
    answer();
  };

  // Open the frame where a picture has another shape than those that the model was trained on.
  const frameFor = ({ bitmap }) => {
    if (!bitmap) { setCropping(false); return; }
    const ratio = bitmap.width / bitmap.height / aspect();
    const size = model.about.picture_size;
    const shape = size ? `${size[0]} × ${size[1]} pixels` : "a square";
    const off = ratio > 1.12 || ratio < 1 / 1.12;
    $("frame-help").textContent =
      `The model was trained on pictures of faces that fill ${shape}. ` +
      (off ? "Yours has another shape: put the frame around the face."
        : "If yours shows more than a face, crop it.");
    $("frame-help").hidden = false;
    setCropping(off);
  };

  let cropping = false;
  const setCropping = (on) => {
    cropping = on;
    $("frame").hidden = !on;
    $("crop").setAttribute("aria-pressed", String(on));
    $("crop").textContent = on ? "Use the whole picture" : "Crop it";
    if (on) frame.start(aspect());
  };
  $("crop").addEventListener("click", () => {
    setCropping(!cropping);
    if (cropping) $("frame").focus({ preventScroll: true });
    answer();
  });

  // What is sent: the file as it is, or what the frame holds.
  const sent = () => {
    if (!cropping) return Promise.resolve(picture.blob);
    const { bitmap } = picture;
    const scale = bitmap.width / canvas.width;
    const { x, y, width, height } = frame.box;
    const shrink = Math.min(1, 1024 / (Math.max(width, height) * scale));
    const cut = document.createElement("canvas");
    cut.width = Math.max(1, Math.round(width * scale * shrink));
    cut.height = Math.max(1, Math.round(height * scale * shrink));
    const context = cut.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, cut.width, cut.height);
    context.drawImage(bitmap, x * scale, y * scale, width * scale, height * scale, 0, 0, cut.width, cut.height);
    return new Promise((resolve) => cut.toBlob(resolve, "image/png"));
  };

  const pick = () => $("file").click();
  $("choose").addEventListener("click", pick);
  $("other").addEventListener("click", pick);
  $("file").addEventListener("change", () => {
    if ($("file").files.length) take($("file").files[0]);
    $("file").value = ""; // so that the same file can be chosen again
  });
  const carries = (transfer) => transfer && [...transfer.types].includes("Files");
  addEventListener("dragover", (event) => {
    if (!carries(event.dataTransfer)) return;
    event.preventDefault();
    stage.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) stage.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    stage.classList.remove("over");
    if (!carries(event.dataTransfer)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData ? event.clipboardData.files : [])]
      .find((f) => f.type.startsWith("image/"));
    if (file) { event.preventDefault(); take(file); }
  });

  // --- the camera -------------------------------------------------------------------------------
  let stream = null;
  const video = $("video");
  const stopCamera = () => {
    if (stream) for (const track of stream.getTracks()) track.stop();
    stream = null;
    video.srcObject = null;
    video.hidden = true;
    $("shoot").hidden = true;
    $("camera").textContent = "Use the camera";
    if (stage.dataset.state === "camera") {
      stage.dataset.state = picture ? "picture" : "empty";
      canvas.hidden = !(picture && picture.bitmap);
      $("frame").hidden = !cropping;
    }
  };
  $("camera").hidden = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  $("camera").addEventListener("click", async () => {
    if (stream) { stopCamera(); return; }
    quietProblem();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      complain(new Problem(0, {
        what: refused ? "The browser does not let this page use the camera." : "There is no camera that could be used.",
        todo: refused ? "Allow it beside the address, or choose a file." : "Choose a file instead.",
      }));
      return;
    }
    video.srcObject = stream;
    await video.play();
    stage.dataset.state = "camera";
    canvas.hidden = true;
    $("frame").hidden = true;
    $("no-preview").hidden = true;
    video.hidden = false;
    $("shoot").hidden = false;
    $("camera").textContent = "Stop the camera";
    $("shoot").focus();
  });
  $("shoot").addEventListener("click", () => {
    const shot = document.createElement("canvas");
    shot.width = video.videoWidth;
    shot.height = video.videoHeight;
    shot.getContext("2d").drawImage(video, 0, 0);
    shot.toBlob((blob) => { if (blob) take(blob); }, "image/png");
  });
  addEventListener("pagehide", stopCamera);

  // --- the answer -------------------------------------------------------------------------------
  let asking = new AbortController();

  const answer = async () => {
    if (!model || !picture) return;
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    quietProblem();
    try {
      const blob = await sent();
      const options = {
        method: "POST", body: blob, signal, headers: { "Content-Type": "application/octet-stream" },
      };
      const found = await ask(`v1/predict?model=${encodeURIComponent(model.name)}`, options);
      if (signal.aborted) return;
      showAnswer(found.results[0], found.drift);
      if (model.methods.length) await explain(blob, signal, best(found.results[0]));
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      $("answer").replaceChildren(element("p", "There is no answer.", "waiting"));
      $("map").hidden = true;
      complain(error, answer);
    }
  };

  const best = (row) => model.classes.reduce((a, b) => (row.probabilities[b] > row.probabilities[a] ? b : a));

  // Of several labels each on a line: its answer, and how probable it is or where it likely lies.
  const showLabels = (row) => {
    const body = element("tbody");
    for (const [name, found] of Object.entries(row.labels)) {
      const line = element("tr");
      const head = element("th", name);
      head.scope = "row";
      const said = element("td", found.abstained ? "not sure"
        : found.value === null ? found.prediction : number(found.value));
      const chances = Object.entries(found.probabilities || {});
      const top = chances.length ? chances.reduce((a, b) => (b[1] > a[1] ? b : a)) : null;
      if (top) said.append(element("small", `${found.abstained ? `${top[0]}, ` : ""}${percent(top[1])}`));
      else if (found.value !== null) said.append(element("small", `${number(found.low)} to ${number(found.high)}`));
      line.append(head, said);
      body.append(line);
    }
    const table = element("table");
    table.append(body);
    const why = row.reason ? [element("p", `It gives no answer: ${row.reason}.`)] : [];
    $("answer").replaceChildren(element("p", "It would be labelled", "note"), table, ...why);
  };
  const number = (x) => (Math.abs(x) >= 10 ? Math.round(x) : Number(x.toPrecision(2))).toLocaleString("en");

  const showAnswer = (row, drift) => {
    if (row.labels) { showLabels(row); return; }
    const top = best(row);
    const said = element("p", undefined, "said");
    const who = model.about.is_drawn ? "the program" : "annotators";
    if (row.abstained) {
      said.append(element("small", "The model says"), "Not sure");
    } else {
      said.append(element("small", "It would be labelled"), row.prediction);
    }
    const sentence = element("p", row.abstained
      ? `It gives no answer: ${row.reason}. ${/^unlike/.test(row.reason) ? "The probabilities above mean nothing for such pictures." : drift ? "" : sentenceOf(model.rule.sentence)}`
      : `The model puts the probability that ${who} would have labelled it “${top}” at ${percent(row.probabilities[top])}.`);
    const bars = element("ul", undefined, "bars");
    bars.setAttribute("aria-label", "Calibrated probability of each label");
    const order = model.classes.length > 3
      ? [...model.classes].sort((a, b) => row.probabilities[b] - row.probabilities[a]) : model.classes;
    for (const name of order) {
      const p = row.probabilities[name];
      const mark = name === top ? "best" : "";
      const item = element("li");
      const bar = element("span", undefined, `bar ${mark} ${mark && row.abstained ? "unsure" : ""}`);
      const fill = element("i");
      fill.style.width = `${100 * p}%`;
      bar.append(fill);
      if (mark && model.rule) {
        const line = element("b");
        line.style.left = `${100 * model.rule.threshold}%`;
        bar.append(line);
      }
      bar.setAttribute("aria-hidden", "true");
      item.append(element("span", name, `name ${mark}`), bar, element("span", percent(p), `figure ${mark}`));
      bars.append(item);
    }
    $("answer").replaceChildren(said, bars, sentence);
    if (model.rule && !/^unlike/.test(row.reason || "")) {
      $("answer").append(element("p", `The line across the bar is at ${percent(model.rule.threshold)}: ` +
        "below it, the model gives no answer.", "note"));
    }
    if (drift) $("answer").append(element("p", `Nothing is promised of the answers any more: ${drift}`, "alert"));
  };
  const sentenceOf = (text) => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  const quietProblem = () => { $("problem").hidden = true; };
  const complain = (error, again) => {
    const { what, expected, todo } = error.error || { what: String(error), todo: "" };
    const box = $("problem");
    box.replaceChildren(element("p", what));
    if (expected && error.status !== 0) box.append(element("p", `Expected: ${expected}.`, "note"));
    if (todo) box.append(element("p", sentenceOf(todo), "note"));
    if (again && (error.status === 0 || error.status === 429 || error.status === 503)) {
      const button = element("button", "Try again");
      button.type = "button";
      button.addEventListener("click", again);
      box.append(button);
    }
    box.hidden = false;
  };

  // --- the map ----------------------------------------------------------------------------------
  let mapped = null; // { blob, explained }: what the map is of

  const explain = async (blob, signal, name) => {
    mapped = { blob, explained: name };
    $("explained").value = name;
    await drawMap(signal);
  };

  const drawMap = async (signal) => {
    const method = model.methods.find((m) => m.name === $("method").value);
    tellMethod(method);
    $("map").hidden = false;
    $("layers").classList.add("busy");
    $("layers").setAttribute("aria-busy", "true");
    $("seen-caption").textContent = "The map is being made.";
    try {
      const found = await ask(
        `v1/explain?${new URLSearchParams({ model: model.name, method: method.name, class: mapped.explained })}`,
        { method: "POST", body: mapped.blob, signal, headers: { "Content-Type": "application/octet-stream" } },
      );
      if (signal.aborted) return;
      await paint(found);
    } finally {
      $("layers").classList.remove("busy");
      $("layers").removeAttribute("aria-busy");
    }
  };

  const tellMethod = (method) => {
    const about = $("method-about");
    about.replaceChildren(method.about + " ");
    if (method.badge === "passed" || method.badge === "failed") {
      about.append(element("span", method.badge === "passed"
        ? "On this model it passed its checks." : "On this model it failed its checks: do not rely on it.",
      `badge ${method.badge}`));
    } else {
      about.append("Nobody checked on this model whether its maps mean anything.");
    }
  };

  const paint = async (found) => {
    const { side, map, frame } = found; // with a frame, the picture is as it came, and no square
    const width = map[0].length, height = map.length;
    const seen = $("seen"), shades = $("shades");
    const bytes = Uint8Array.from(atob(found.picture), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    for (const c of [seen, shades]) { c.width = width; c.height = height; }
    $("layers").style.aspectRatio = `${width} / ${height}`;
    seen.getContext("2d").drawImage(bitmap, 0, 0);
    const context = shades.getContext("2d");
    const image = context.createImageData(width, height);
    map.forEach((row, y) => row.forEach((value, x) => {
      image.data.set([...(value >= 0 ? [11, 102, 168] : [194, 78, 0]), Math.round(255 * Math.abs(value))], 4 * (y * width + x));
    }));
    context.putImageData(image, 0, 0);
    $("outline").toggleAttribute("hidden", !frame);
    if (frame) $("outline").firstElementChild.setAttribute("points", frame.flat().join(" "));
    $("seen").setAttribute("aria-label", frame ? "Your picture" : "The picture as the model sees it");
    $("seen-caption").textContent = frame
      ? `Your picture, and over it the map. The model saw what lies within the line, as ${side} × ${side} pixels.`
      : `The picture as the model sees it, ${side} × ${side} pixels, and over it the map.`;
    const method = model.methods.find((m) => m.name === found.method);
    const legend = (mark, text) => {
      const item = element("span");
      item.append(element("i", undefined, mark), text);
      return item;
    };
    $("map-key").replaceChildren(...(method.signed
      ? [legend("for", `speaks for “${found.explained}”`), legend("against", "speaks against it")]
      : [legend("for", `matters for “${found.explained}”`)]));
    $("map-words").textContent = found.words;
    fade();
  };

  const fade = () => {
    const share = $("strength").value / 100;
    $("shades").style.opacity = share;
    // Blue and orange tell more over grey than over skin.
    $("seen").style.filter = `grayscale(${Math.min(1, 1.5 * share)})`;
    $("strength-value").textContent = `${$("strength").value}%`;
  };
  $("strength").addEventListener("input", fade);
  const redraw = () => {
    if (!mapped) return;
    mapped.explained = $("explained").value;
    asking.abort();
    asking = new AbortController();
    quietProblem();
    drawMap(asking.signal).catch((error) => {
      if (error.name !== "AbortError") complain(error, redraw);
    });
  };
  $("method").addEventListener("change", redraw);
  $("explained").addEventListener("change", redraw);

  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  $("where").textContent = here
    ? "The picture stays on this machine: it is held in memory while it is worked on, and written nowhere."
    : `The picture goes to ${location.host}, is held in memory while it is worked on, and written nowhere.`;
  start();
})();

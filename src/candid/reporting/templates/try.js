// The section where a reader tries the model: a picture in, and what the model says of it out.
(function (shared) {
  "use strict";
  const section = document.getElementById("try");
  if (!section) return;
  const $ = (id) => document.getElementById(id);
  const about = JSON.parse($("try-about").textContent), { words } = about;

  // --- the model, made when the first picture comes -----------------------------------------------

  const made = new Map();

  // `plain`: without WebAssembly's instructions.
  const models = (plain) => {
    if (!made.has(plain)) {
      made.set(plain, (async () => {
        const { Network } = shared, { network, framing } = about;
        const back = about.map !== null && about.map.method !== "occlusion";
        const size = Network.numbers(network, back) + (framing ? Network.numbers(framing.network, false) : 0);
        const engine = await shared.engine(size, plain ? null : await candidPacked.read("try-kernel"));
        const weights = await candidPacked.read("try-weights");
        return {
          engine: engine.name,
          network: new Network(network, weights, engine),
          framing: framing && new Network(framing.network, weights, engine),
        };
      })());
    }
    return made.get(plain);
  };

  // What the model says of a picture's bytes; Unreadable where they are none.
  shared.label = async (bytes, { plain = false } = {}) => {
    const net = await models(plain), { side } = about;
    const picture = await shared.readPicture(bytes, about);
    const framed = net.framing ? shared.framed(net.framing, about.framing, picture.square, side)
      : shared.unframed(picture.square, side);
    const unlike = about.look ? shared.unlike(about.look, framed, picture.width, picture.height) : "";
    const probabilities = shared.probabilities(net.network, about, framed.planes);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const unsure = about.threshold !== null && probabilities[best] < about.threshold;
    return { ...picture, ...framed, unlike, unsure, probabilities, best, engine: net.engine };
  };

  shared.map = async (found, pause, { plain = false } = {}) =>
    shared.mapOf((await models(plain)).network, about, found.planes, found.best, pause);

  // --- in words -----------------------------------------------------------------------------------

  const percent = (p) => { // 100% and 0% are claims that no model can make
    const rounded = (100 * p).toFixed(1);
    if (rounded === "100.0" && p < 1) return ">99.9%";
    return rounded === "0.0" && p > 0 ? "<0.1%" : `${rounded}%`;
  };
  const element = (tag, text, className = "") => {
    const node = document.createElement(tag);
    node.textContent = text;
    if (className) node.className = className;
    return node;
  };
  const say = (...texts) => $("try-said").replaceChildren(...texts.filter(Boolean).map((text, i) => element("p", text, i ? "" : "said")));
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  const tell = (found) => {
    const values = { label: about.classes[found.best], probability: percent(found.probabilities[found.best]), why: found.unlike };
    if (found.unlike) say(filled(words.unlike, values), filled(words.nearest, values));
    else if (found.unsure) say(words.unsure, filled(words.nearest, values));
    else say(filled(words.answer, values));
    const order = found.probabilities.map((_, i) => i).sort((a, b) => found.probabilities[b] - found.probabilities[a]);
    $("try-shares").replaceChildren(...order.slice(0, 8).flatMap((i) => {
      const bar = element("dd", ""), line = document.createElement("i");
      line.style.width = `${100 * found.probabilities[i]}%`;
      bar.append(line);
      bar.setAttribute("aria-hidden", "true");
      return [element("dt", about.classes[i]), element("dd", percent(found.probabilities[i])), bar];
    }));
    $("try-frame").textContent = about.framing === null ? "" : found.frame === shared.AS_IT_CAME ? words.unframed : words.framed;
    $("try-result").hidden = false;
  };

  // --- the picture, its frame, and the map on it ----------------------------------------------------

  const LONGEST = 560, LEVELS = 12;
  const FOR = [[120, 200, 255], [0, 92, 205]], AGAINST = [[255, 208, 74], [233, 84, 0]];

  // From the square that was read of a picture, -1 to 1 each way, to the picture's own pixels.
  const squareOf = (width, height) => {
    if (about.fit === "stretch") return [width / 2, 0, width / 2, 0, height / 2, height / 2];
    const half = (about.fit === "crop" ? Math.min : Math.max)(width, height) / 2;
    return [half, 0, width / 2, 0, half, height / 2];
  };

  // A map as a picture of its own, clear where it is 0: steps of strength as everywhere in the report.
  const drawn = (map) => {
    const { side } = about, canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    const sizes = Float64Array.from(map, Math.abs).sort();
    const full = sizes[Math.floor(0.995 * (sizes.length - 1))] || sizes.at(-1) || 1;
    map.forEach((value, i) => {
      const level = Math.round(Math.min(1, Math.abs(value) / full) * LEVELS) / LEVELS;
      const [weak, strong] = value > 0 ? FOR : AGAINST;
      for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = weak[c] * (1 - level) + strong[c] * level;
      image.data[4 * i + 3] = level ? 235 * level ** 0.8 : 0;
    });
    context.putImageData(image, 0, 0);
    return canvas;
  };

  // Where a map is strongest, for those who do not see it.
  const inWords = (map) => {
    const { side } = about, sums = words.fields.map(() => 0), third = (i) => Math.floor((3 * i) / side);
    map.forEach((value, i) => { sums[3 * third(Math.floor(i / side)) + third(i % side)] += Math.abs(value); });
    const total = sums.reduce((a, b) => a + b), order = sums.map((_, i) => i).filter((i) => sums[i]).sort((a, b) => sums[b] - sums[a]);
    const told = order.slice(0, 3).map((i) => `${words.fields[i]} ${Math.round((100 * sums[i]) / total)}%`);
    return total ? filled(words.mostOfMap, { places: told.join(", ") }) : words.emptyMap;
  };

  const show = (found, map) => {
    const canvas = $("try-picture"), { width, height, bitmap, frame } = found;
    const scale = LONGEST / Math.max(width, height), context = canvas.getContext("2d");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const [sx, , mx, , sy, my] = squareOf(width, height), [a, b, x, c, d, y] = frame;
    context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    context.transform(sx * a, sy * c, sx * b, sy * d, sx * x + mx, sy * y + my);
    if (map && section.querySelector("#try-map input").checked) {
      context.imageSmoothingEnabled = true;
      context.drawImage(drawn(map), -1, -1, 2, 2);
    }
    const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => context.getTransform().transformPoint({ x: u, y: v }));
    context.resetTransform();
    if (frame !== shared.AS_IT_CAME) {
      for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
        context.beginPath();
        corners.forEach((at) => context.lineTo(at.x, at.y));
        context.closePath();
        context.lineWidth = line;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
    const label = about.classes[found.best];
    canvas.setAttribute("aria-label", map ? `The picture, with a map (${about.map.title}) of what spoke for ${label}. ${inWords(map)}` : "The picture");
  };

  // --- one picture after the other ------------------------------------------------------------------

  let turn = 0, latest = null;
  const breath = () => new Promise((done) => { setTimeout(done, 0); });

  const take = async (file) => {
    turn += 1;
    const mine = turn, pause = async () => {
      await breath();
      if (mine !== turn) throw new shared.Unreadable("");
    };
    $("try-result").hidden = true;
    say(words.working);
    try {
      await pause();
      const found = await shared.label(new Uint8Array(await file.arrayBuffer()));
      await pause();
      latest?.found.bitmap.close();
      latest = { found, map: null };
      tell(found);
      show(found, null);
      if (about.map === null) return;
      latest.map = await shared.map(found, pause);
      show(found, latest.map);
    } catch (error) {
      if (mine !== turn) return; // another picture was chosen meanwhile
      if (error instanceof shared.Unreadable) say(words.unread, error.message);
      else {
        console.error(error);
        say(words.broken, String(error.message ?? error));
      }
    } finally {
      if (mine === turn) section.dispatchEvent(new Event("tried"));
    }
  };

  $("try-file").addEventListener("change", ({ target }) => { if (target.files.length) take(target.files[0]); });
  section.querySelector("#try-map input")?.addEventListener("change", () => { if (latest) show(latest.found, latest.map); });
  const choose = section.querySelector(".try-choose");
  const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    choose.classList.add("over");
  });
  addEventListener("dragleave", () => choose.classList.remove("over"));
  addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    choose.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    section.scrollIntoView();
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) take(file);
  });
})(candidTry);

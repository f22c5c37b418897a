// What `candid predict` does with a square of pixels: framed, held against the training pictures,
// labelled; and a map of what spoke for the label. Planes are (3, side, side) from 0 to 255.
(function (shared) {
  "use strict";

  // --- framing: as candid.models.framing and candid.models.warping --------------------------------

  const planesOf = (pixels, side) => {
    const planes = new Float32Array(3 * side * side), size = side * side;
    for (let i = 0; i < size; i += 1) for (let c = 0; c < 3; c += 1) planes[c * size + i] = pixels[3 * i + c];
    return { side, data: planes };
  };

  const bilinear = (from, base, side, x, y) => {
    const x0 = Math.floor(x), y0 = Math.floor(y), fx = x - x0, fy = y - y0;
    const x1 = Math.min(x0 + 1, side - 1), y1 = Math.min(y0 + 1, side - 1);
    const top = from[base + y0 * side + x0] * (1 - fx) + from[base + y0 * side + x1] * fx;
    return top * (1 - fy) + (from[base + y1 * side + x0] * (1 - fx) + from[base + y1 * side + x1] * fx) * fy;
  };

  const halved = (planes) => {
    const half = planes.side >> 1, data = new Float32Array(3 * half * half), scale = planes.side / half;
    const at = (i) => Math.max(0, (i + 0.5) * scale - 0.5);
    for (let c = 0, to = 0; c < 3; c += 1) for (let y = 0; y < half; y += 1) for (let x = 0; x < half; x += 1, to += 1) {
      data[to] = bilinear(planes.data, c * planes.side ** 2, planes.side, at(x), at(y));
    }
    return { side: half, data };
  };

  // A place outside is read where the picture, mirrored at its edges, shows it.
  const reflected = (place, side) => {
    const away = Math.abs(place + 0.5), turns = Math.floor(away / side), rest = away - turns * side;
    return Math.max(0, Math.min(side - 1, (turns % 2 ? side - rest : rest) - 0.5));
  };

  // Read at the places that a frame (a, b, x, c, d, y) names, both squares from -1 to 1.
  const warped = (planes, [a, b, x0, c, d, y0], side) => {
    const data = new Float32Array(3 * side * side), size = side * side;
    const pixel = (place) => reflected(((place + 1) * planes.side - 1) / 2, planes.side);
    for (let row = 0, to = 0; row < side; row += 1) for (let column = 0; column < side; column += 1, to += 1) {
      const u = (2 * column + 1) / side - 1, v = (2 * row + 1) / side - 1;
      const x = pixel(a * u + b * v + x0), y = pixel(c * u + d * v + y0);
      for (let k = 0; k < 3; k += 1) data[k * size + to] = bilinear(planes.data, k * planes.side ** 2, planes.side, x, y);
    }
    return { side, data };
  };

  // The same with less aliasing: from half the detail where the places lie that far apart.
  const levelWarped = (planes, frame, side) => {
    const [a, b, , c, d] = frame, step = Math.sqrt(Math.abs(a * d - b * c)) * (planes.side / side);
    return warped(step >= Math.SQRT2 ? halved(planes) : planes, frame, side);
  };

  const frameOf = ([scale, aspect, x, y, angle]) => {
    const wide = Math.exp(scale + aspect), high = Math.exp(scale - aspect);
    const cos = Math.cos(angle), sin = Math.sin(angle);
    return [cos * wide, -sin * high, x, sin * wide, cos * high, y];
  };
  const after = ([a, b, x, c, d, y], [e, f, u, g, h, v]) =>
    [a * e + b * g, a * f + b * h, a * u + b * v + x, c * e + d * g, c * f + d * h, c * u + d * v + y];
  shared.AS_IT_CAME = [1, 0, 0, 0, 1, 0];

  const look = (net, about, seen) => {
    const given = seen.data.map((value) => value * (4 / 255) - 2), found = net.answer(given);
    const off = about.units.map((unit, i) => found[i] * unit - about.centre[i]), n = off.length;
    let sum = 0;
    for (let i = 0; i < n; i += 1) for (let j = 0; j < n; j += 1) sum += off[i] * about.precision[i * n + j] * off[j];
    return { off, far: Math.sqrt(Math.max(0, sum)) };
  };

  // A picture alone in the frame of the training pictures: { planes, frame, settled }.
  shared.framed = (net, about, pixels, side) => {
    const planes = planesOf(pixels, 2 * side), home = halved(planes);
    let first = home;
    while (first.side >= Math.SQRT2 * about.lookSide) first = halved(first);
    let { off, far } = look(net, about, warped(first, shared.AS_IT_CAME, about.lookSide));
    const left = far <= about.limit;
    let settled = left, frame = frameOf(off);
    for (let i = 1; i < about.looks && !left; i += 1) {
      ({ off, far } = look(net, about, levelWarped(planes, frame, about.lookSide)));
      settled = settled || far <= about.limit;
      if (!settled) frame = after(frame, frameOf(off));
    }
    const made = left ? home : levelWarped(planes, frame, side);
    const even = (x) => { const r = Math.round(x); return r - x === 0.5 && r % 2 ? r - 1 : r; };
    made.data = made.data.map((value) => Math.max(0, Math.min(255, even(value))));
    return { planes: made, frame: left ? shared.AS_IT_CAME : frame, settled: left || far <= about.restLimit };
  };

  shared.unframed = (pixels, side) => ({ planes: planesOf(pixels, side), frame: shared.AS_IT_CAME, settled: true });

  // --- the look of pictures: as candid.inference.unfamiliar ----------------------------------------

  const GRID = 32, CELLS = 8;

  const averaging = (length, parts) => Array.from({ length: parts }, (_, i) => {
    const from = (i * length) / parts, to = ((i + 1) * length) / parts, weights = [];
    for (let x = Math.floor(from); x < to && x < length; x += 1) {
      weights.push([x, ((Math.min(to, x + 1) - Math.max(from, x)) * parts) / length]);
    }
    return weights;
  });

  const features = ({ side, data }) => {
    const small = averaging(side, GRID), size = side * side, grey = new Float64Array(GRID * GRID);
    const luma = Float64Array.from({ length: size }, (_, i) => 0.299 * data[i] + 0.587 * data[size + i] + 0.114 * data[2 * size + i]);
    for (let y = 0; y < GRID; y += 1) for (let x = 0; x < GRID; x += 1) {
      for (const [v, down] of small[y]) for (const [u, across] of small[x]) grey[y * GRID + x] += down * across * luma[v * side + u];
    }
    const channels = Array.from({ length: 7 }, () => new Float64Array(CELLS * CELLS)), cell = GRID / CELLS;
    for (let y = 1; y < GRID - 1; y += 1) for (let x = 1; x < GRID - 1; x += 1) {
      const at = y * GRID + x, gx = grey[at + 1] - grey[at - 1], gy = grey[at + GRID] - grey[at - GRID];
      const length = Math.sqrt(gx * gx + gy * gy) + 1e-3;
      const cos = (gx * gx - gy * gy) / length, sin = (2 * gx * gy) / length;
      const of = [length, gx, gy, cos, sin, (cos * cos - sin * sin) / length, (2 * cos * sin) / length];
      const to = Math.floor(y / cell) * CELLS + Math.floor(x / cell);
      of.forEach((value, k) => { channels[k][to] += value / (cell * cell); });
    }
    const near = (i) => Math.max(0, Math.min(CELLS - 1, i));
    const around = channels[0].map((_, at) => {
      let sum = 0;
      for (let dy = -1; dy < 2; dy += 1) for (let dx = -1; dx < 2; dx += 1) {
        sum += channels[0][near(Math.floor(at / CELLS) + dy) * CELLS + near((at % CELLS) + dx)];
      }
      return sum / 9 + 2;
    });
    return channels.flatMap((channel) => [...channel].map((value, at) => value / around[at]));
  };

  const contrast = ({ side, data }) => {
    const green = [];
    for (let y = 0; y < side; y += 2) for (let x = 0; x < side; x += 2) green.push(data[side * side + y * side + x]);
    const mean = green.reduce((a, b) => a + b) / green.length;
    return Math.sqrt(green.reduce((sum, g) => sum + (g - mean) ** 2, 0) / green.length);
  };

  // Why a picture does not look like the training pictures; "" where it does.
  shared.unlike = (about, framed, width, height) => {
    const { words } = about, sized = (said) => said.replace("0 × 0", `${width} × ${height}`), shape = width / height;
    if (!(about.narrowest <= shape && shape <= about.widest)) return sized(words.shape);
    if (Math.min(width, height) < Math.min(about.smallest, framed.planes.side)) return sized(words.small);
    if (contrast(framed.planes) < about.faintest) return words.contrast;
    const far = features(framed.planes).reduce((sum, value, i) => sum + value * about.weight[i], 0);
    if (about.limit !== null && far > about.limit) return words.kind;
    return framed.settled ? "" : words.frame;
  };

  // --- labels -------------------------------------------------------------------------------------

  const normalised = ({ side, data }, { mean, std }) => {
    const size = side * side;
    return data.map((value, i) => value / (255 * std[Math.floor(i / size)]) - mean[Math.floor(i / size)] / std[Math.floor(i / size)]);
  };

  const mirrored = (data, side) => data.map((_, i) => data[i - (i % side) + side - 1 - (i % side)]);

  // The network's own logits: of two looks, the mean.
  const logitsOf = (net, image, { side, flip }) => {
    const one = net.answer(image);
    if (!flip) return one;
    const other = net.answer(mirrored(image, side));
    return one.map((value, i) => (value + other[i]) / 2);
  };

  shared.probabilities = (net, about, planes) => {
    const logits = [...logitsOf(net, normalised(planes, about), about)].map((value) => value / about.temperature);
    const top = Math.max(...logits), shares = logits.map((value) => Math.exp(value - top));
    const sum = shares.reduce((a, b) => a + b);
    return shares.map((share) => share / sum);
  };

  // --- maps: as candid.explanation.attribution; (side, side), what speaks for a class --------------

  const logOdds = (logits, k) => {
    const others = [...logits].filter((_, i) => i !== k), top = Math.max(...others);
    return logits[k] - top - Math.log(others.reduce((sum, value) => sum + Math.exp(value - top), 0));
  };

  // The gradient of a class's log-odds at an image, through both looks.
  const slopeOf = (net, image, about, k) => {
    const looks = about.flip ? [image, mirrored(image, about.side)] : [image];
    const passes = looks.map((seen) => net.forward(seen));
    const logits = passes[0].at(-1).data.map((_, i) => passes.reduce((sum, p) => sum + p.at(-1).data[i], 0) / looks.length);
    const others = logits.map((value, i) => (i === k ? 0 : Math.exp(value)));
    const sum = others.reduce((a, b) => a + b);
    const weights = others.map((value, i) => (i === k ? 1 : -value / sum) / looks.length);
    const slopes = passes.map((values) => shared.gradient(net, values, weights));
    if (about.flip) slopes[1] = mirrored(slopes[1], about.side);
    return slopes[0].map((value, i) => slopes.reduce((all, slope) => all + slope[i], 0));
  };

  const summed = (side, of) => Float64Array.from({ length: side * side }, (_, i) => of(i) + of(i + side * side) + of(i + 2 * side * side));

  // Each step gives the page back to its reader, who may have chosen another picture.
  const METHODS = {
    async integrated_gradients(net, image, about, k, pause) {
      const total = new Float64Array(image.length);
      for (const [node, weight] of about.map.path) {
        const slope = slopeOf(net, image.map((value) => node * value), about, k);
        slope.forEach((value, i) => { total[i] += weight * value; });
        await pause();
      }
      return summed(about.side, (i) => total[i] * image[i]);
    },

    async gradient(net, image, about, k) {
      const slope = slopeOf(net, image, about, k);
      return summed(about.side, (i) => Math.abs(slope[i]));
    },

    async occlusion(net, image, about, k, pause) {
      const { side } = about, { window, stride } = about.map, size = side * side;
      const starts = Array.from({ length: Math.ceil((side - window) / stride) + 1 }, (_, i) => i * stride);
      const whole = logOdds(logitsOf(net, image, about), k);
      const falls = new Float64Array(size), covered = new Float64Array(size);
      for (const top of starts) for (const left of starts) {
        const places = [];
        for (let y = top; y < Math.min(top + window, side); y += 1) {
          for (let x = left; x < Math.min(left + window, side); x += 1) places.push(y * side + x);
        }
        const hidden = image.slice();
        for (const at of places) hidden[at] = hidden[at + size] = hidden[at + 2 * size] = 0;
        const fall = whole - logOdds(logitsOf(net, hidden, about), k);
        for (const at of places) { falls[at] += fall; covered[at] += 1; }
        await pause();
      }
      return falls.map((fall, i) => fall / covered[i]);
    },
  };

  shared.mapOf = (net, about, planes, k, pause) =>
    METHODS[about.map.method](net, normalised(planes, about), about, k, pause);
})(candidTry);

// A network as a flat list of layers, forwards and, for maps, backwards to its picture.
//
// Values are float32 arrays (channels, rows, columns); convolutions are matrix products, by
// product.wasm where the browser has it, and else by the same in plain JavaScript. Everything that
// the page shares lies in `candidTry`.
const candidTry = {};

(function (shared) {
  "use strict";

  const upTo = (number, step) => Math.ceil(number / step) * step;

  // --- the matrix product -----------------------------------------------------------------------

  // What product.wat says, without four numbers at a time; places are in numbers, not in bytes.
  const plainProduct = (heap) => (a, b, c, m, k, n) => {
    for (let column = 0; column < n; column += 8) {
      const panel = b + column * k;
      for (let row = 0; row < m; row += 1) {
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        for (let i = a + row * k, j = panel, end = i + k; i < end; i += 1, j += 8) {
          const weight = heap[i];
          s0 += weight * heap[j]; s1 += weight * heap[j + 1];
          s2 += weight * heap[j + 2]; s3 += weight * heap[j + 3];
          s4 += weight * heap[j + 4]; s5 += weight * heap[j + 5];
          s6 += weight * heap[j + 6]; s7 += weight * heap[j + 7];
        }
        const into = c + row * n + column;
        heap[into] = s0; heap[into + 1] = s1; heap[into + 2] = s2; heap[into + 3] = s3;
        heap[into + 4] = s4; heap[into + 5] = s5; heap[into + 6] = s6; heap[into + 7] = s7;
      }
    }
  };

  // So many numbers of memory, and the product on them; `wasm` null: in plain JavaScript.
  shared.engine = async (numbers, wasm) => {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(numbers / 16384) });
    const heap = new Float32Array(memory.buffer);
    let used = 0;
    const take = (size) => { used += upTo(size, 4); return used - upTo(size, 4); };
    if (wasm) {
      try {
        const { instance } = await WebAssembly.instantiate(wasm, { page: { memory } });
        const { product } = instance.exports;
        return { heap, take, name: "wasm",
          product: (a, b, c, m, k, n) => product(4 * a, 4 * b, 4 * c, m, k, n) };
      } catch (error) {
        // A browser without SIMD, or a page that may not compile: slower, and the same numbers.
      }
    }
    return { heap, take, name: "plain", product: plainProduct(heap) };
  };

  // --- weights ----------------------------------------------------------------------------------

  // A tensor's rows: whole numbers of so many bits, low bytes before high ones; each row has a scale.
  const unpacked = (bytes, { at, rows, columns, bits }) => {
    const floats = (start) => new Float32Array(bytes.slice(start, start + 4 * rows).buffer);
    const scales = floats(at), biases = floats(at + 4 * rows), weights = new Float32Array(rows * columns);
    const low = at + 8 * rows, high = low + weights.length;
    for (let i = 0; i < weights.length; i += 1) {
      const value = bits > 8 ? (bytes[high + i] << 24 >> 16) | bytes[low + i] : bytes[low + i] << 24 >> 24;
      weights[i] = value * scales[Math.floor(i / columns)];
    }
    return { weights, biases, rows, columns };
  };

  // --- layers -----------------------------------------------------------------------------------

  const blank = (c, h, w) => ({ c, h, w, data: new Float32Array(c * h * w) });

  // What a part of the picture is at the size of the whole: visit(to, from, share of what is there).
  const windowPlaces = (x, [left, top, right, bottom], visit) => {
    const along = (places, low, high) => Array.from({ length: places }, (_, i) => {
      const at = Math.min(Math.max(low * places + (high - low) * (i + 0.5) - 0.5, 0), places - 1);
      const first = Math.floor(at);
      return [[first, 1 - at + first], [Math.min(first + 1, places - 1), at - first]];
    });
    const down = along(x.h, top, bottom), across = along(x.w, left, right);
    for (let c = 0, to = 0; c < x.c; c += 1) for (const rows of down) for (const columns of across) {
      for (const [row, high] of rows) for (const [column, wide] of columns) {
        visit(to, (c * x.h + row) * x.w + column, high * wide);
      }
      to += 1;
    }
  };

  // Squares of 2 × 2 pixels as channels; of an odd side the last row and column come twice.
  const depthPlaces = (x, visit) => {
    const h = Math.ceil(x.h / 2), w = Math.ceil(x.w / 2);
    let to = 0;
    for (let c = 0; c < x.c; c += 1) for (let dy = 0; dy < 2; dy += 1) for (let dx = 0; dx < 2; dx += 1) {
      for (let y = 0; y < h; y += 1) for (let i = 0; i < w; i += 1, to += 1) {
        const row = Math.min(2 * y + dy, x.h - 1), column = Math.min(2 * i + dx, x.w - 1);
        visit(to, (c * x.h + row) * x.w + column);
      }
    }
  };

  // Every place of the picture that a 3 × 3 convolution reads: visit(row of the product, column, from).
  const taps = (layer, x, visit) => {
    const { stride, pad } = layer;
    const [h, w] = [x.h, x.w].map((side) => Math.floor((side + 2 * pad - 3) / stride) + 1);
    for (let c = 0, p = 0; c < x.c; c += 1) for (let ky = 0; ky < 3; ky += 1) for (let kx = 0; kx < 3; kx += 1, p += 1) {
      for (let y = 0; y < h; y += 1) {
        const row = y * stride + ky - pad;
        if (row < 0 || row >= x.h) continue;
        const from = (c * x.h + row) * x.w + kx - pad;
        const first = Math.max(0, Math.ceil((pad - kx) / stride));
        const last = Math.min(w - 1, Math.floor((x.w - 1 - kx + pad) / stride));
        visit(p, y * w + first, from + first * stride, last - first + 1);
      }
    }
    return { h, w };
  };

  class Network {
    constructor(about, bytes, engine) {
      this.about = about;
      this.engine = engine;
      this.tensors = about.tensors.map((tensor) => unpacked(bytes, tensor));
      for (const layer of about.layers) {
        if (layer.kind !== "conv") continue;
        const tensor = this.tensors[layer.tensor];
        tensor.at = engine.take(upTo(tensor.rows, 4) * tensor.columns);
        engine.heap.set(tensor.weights, tensor.at);
      }
      const { panels, sums } = Network.scratch(about);
      this.panels = engine.take(panels);
      this.sums = engine.take(sums);
    }

    // Of each convolution its columns, and what a product and its way back take at most.
    static scratch(about) {
      let panels = 0, sums = 0;
      const shapes = [about.input];
      about.layers.forEach((layer) => {
        const [c, h, w] = shapes[[layer.from].flat()[0]];
        if (layer.kind === "window") shapes.push([c, h, w]);
        else if (layer.kind === "depth") shapes.push([4 * c, Math.ceil(h / 2), Math.ceil(w / 2)]);
        else if (layer.kind === "pool") shapes.push([c, h >> 1, w >> 1]);
        else if (layer.kind === "conv") {
          const side = (n) => Math.floor((n + 2 * layer.pad - 3) / layer.stride) + 1;
          shapes.push([layer.out, side(h), side(w)]);
          const wide = upTo(side(h) * side(w), 8);
          panels = Math.max(panels, 9 * c * wide, layer.out * wide);
          sums = Math.max(sums, upTo(layer.out, 4) * wide, upTo(9 * c, 4) * wide);
        } else shapes.push([0, 1, 1]);
      });
      return { panels, sums };
    }

    // Numbers of memory that a network takes; `back`: with what its gradients need.
    static numbers(about, back) {
      const { panels, sums } = Network.scratch(about);
      let weights = 0;
      for (const { rows, columns } of about.tensors) {
        weights += upTo(rows, 4) * columns + 4 + (back ? upTo(columns, 4) * rows + 4 : 0);
      }
      return weights + panels + sums + 64;
    }

    // All values of one picture (c, h, w): the last is what the network gives.
    forward(data) {
      const [c, h, w] = this.about.input;
      const values = [{ c, h, w, data }];
      for (const layer of this.about.layers) values.push(this[layer.kind](layer, values));
      return values;
    }

    answer(data) { return this.forward(data).at(-1).data; }

    window(layer, values) {
      const x = values[layer.from], out = blank(x.c, x.h, x.w);
      windowPlaces(x, layer.edges, (to, from, share) => { out.data[to] += share * x.data[from]; });
      return out;
    }

    depth(layer, values) {
      const x = values[layer.from], out = blank(4 * x.c, Math.ceil(x.h / 2), Math.ceil(x.w / 2));
      depthPlaces(x, (to, from) => { out.data[to] = x.data[from]; });
      return out;
    }

    conv(layer, values) {
      const { heap, product } = this.engine, x = values[layer.from], k = 9 * x.c;
      const { at, biases } = this.tensors[layer.tensor], { panels, sums } = this, { stride } = layer;
      const side = (n) => Math.floor((n + 2 * layer.pad - 3) / stride) + 1;
      const n = side(x.h) * side(x.w), wide = upTo(n, 8);
      heap.fill(0, panels, panels + k * wide);
      const { h, w } = taps(layer, x, (p, column, from, count) => {
        const row = panels + 8 * p;
        for (let i = 0, j = column, f = from; i < count; i += 1, j += 1, f += stride) {
          heap[row + (j >> 3) * 8 * k + (j & 7)] = x.data[f];
        }
      });
      product(at, panels, sums, upTo(layer.out, 4), k, wide);
      const out = blank(layer.out, h, w), added = layer.add === null ? null : values[layer.add].data;
      for (let o = 0, to = 0; o < layer.out; o += 1) for (let j = 0; j < n; j += 1, to += 1) {
        const value = heap[sums + o * wide + j] + biases[o] + (added ? added[to] : 0);
        out.data[to] = layer.relu && value < 0 ? 0 : value;
      }
      return out;
    }

    pool(layer, values) {
      const x = values[layer.from], out = blank(x.c, x.h >> 1, x.w >> 1);
      for (let c = 0, to = 0; c < x.c; c += 1) for (let y = 0; y < out.h; y += 1) for (let i = 0; i < out.w; i += 1, to += 1) {
        const at = (c * x.h + 2 * y) * x.w + 2 * i, d = x.data;
        out.data[to] = Math.max(d[at], d[at + 1], d[at + x.w], d[at + x.w + 1]);
      }
      return out;
    }

    mean(layer, values) {
      const x = values[layer.from], out = blank(x.c, 1, 1), size = x.h * x.w;
      for (let c = 0; c < x.c; c += 1) {
        let sum = 0;
        for (let i = 0; i < size; i += 1) sum += x.data[c * size + i];
        out.data[c] = sum / size;
      }
      return out;
    }

    join(layer, values) {
      const parts = layer.from.map((i) => values[i].data);
      const out = blank(parts.reduce((sum, part) => sum + part.length, 0), 1, 1);
      let to = 0;
      for (const part of parts) { out.data.set(part, to); to += part.length; }
      return out;
    }

    linear(layer, values) {
      const x = values[layer.from].data, { weights, biases, rows, columns } = this.tensors[layer.tensor];
      const out = blank(rows, 1, 1);
      for (let o = 0; o < rows; o += 1) {
        let sum = biases[o];
        for (let i = 0, at = o * columns; i < columns; i += 1) sum += weights[at + i] * x[i];
        out.data[o] = layer.relu && sum < 0 ? 0 : sum;
      }
      return out;
    }
  }

  // --- backwards: of each layer, what a slope at its end is at its beginning ----------------------

  const added = (slopes, values, i) => (slopes[i] ??= new Float32Array(values[i].data.length));

  const back = {
    window(net, layer, values, slopes, slope) {
      const into = added(slopes, values, layer.from);
      windowPlaces(values[layer.from], layer.edges, (to, from, share) => { into[from] += share * slope[to]; });
    },

    depth(net, layer, values, slopes, slope) {
      const into = added(slopes, values, layer.from);
      depthPlaces(values[layer.from], (to, from) => { into[from] += slope[to]; });
    },

    conv(net, layer, values, slopes, slope) {
      const { heap, product, take } = net.engine, x = values[layer.from], k = 9 * x.c, m = layer.out;
      const tensor = net.tensors[layer.tensor], n = slope.length / m, wide = upTo(n, 8);
      if (layer.add !== null) {
        const into = added(slopes, values, layer.add);
        for (let i = 0; i < slope.length; i += 1) into[i] += slope[i];
      }
      if (tensor.turned === undefined) { // the weights with rows and columns exchanged
        tensor.turned = take(upTo(k, 4) * m);
        for (let o = 0; o < m; o += 1) for (let p = 0; p < k; p += 1) {
          heap[tensor.turned + p * m + o] = tensor.weights[o * k + p];
        }
      }
      heap.fill(0, net.panels, net.panels + m * wide);
      for (let o = 0, from = 0; o < m; o += 1) for (let j = 0; j < n; j += 1, from += 1) {
        heap[net.panels + (j >> 3) * 8 * m + 8 * o + (j & 7)] = slope[from];
      }
      product(tensor.turned, net.panels, net.sums, upTo(k, 4), m, wide);
      const into = added(slopes, values, layer.from), { stride } = layer;
      taps(layer, x, (p, column, from, count) => {
        const row = net.sums + p * wide + column;
        for (let i = 0, f = from; i < count; i += 1, f += stride) into[f] += heap[row + i];
      });
    },

    pool(net, layer, values, slopes, slope) {
      const x = values[layer.from], into = added(slopes, values, layer.from);
      const h = x.h >> 1, w = x.w >> 1;
      for (let c = 0, to = 0; c < x.c; c += 1) for (let y = 0; y < h; y += 1) for (let i = 0; i < w; i += 1, to += 1) {
        let best = (c * x.h + 2 * y) * x.w + 2 * i;
        for (const at of [best + 1, best + x.w, best + x.w + 1]) if (x.data[at] > x.data[best]) best = at;
        into[best] += slope[to];
      }
    },

    mean(net, layer, values, slopes, slope) {
      const x = values[layer.from], into = added(slopes, values, layer.from), size = x.h * x.w;
      for (let i = 0; i < into.length; i += 1) into[i] += slope[Math.floor(i / size)] / size;
    },

    join(net, layer, values, slopes, slope) {
      let at = 0;
      for (const from of layer.from) {
        const into = added(slopes, values, from);
        for (let i = 0; i < into.length; i += 1, at += 1) into[i] += slope[at];
      }
    },

    linear(net, layer, values, slopes, slope) {
      const into = added(slopes, values, layer.from), { weights, columns } = net.tensors[layer.tensor];
      for (let o = 0; o < slope.length; o += 1) {
        for (let i = 0, at = o * columns; i < columns; i += 1) into[i] += slope[o] * weights[at + i];
      }
    },
  };

  // The slope of a sum of the network's outputs, each times its `weight`, at every number it was given.
  shared.gradient = (net, values, weights) => {
    const slopes = new Array(values.length), { layers } = net.about;
    slopes[layers.length] = Float32Array.from(weights);
    for (let i = layers.length; i > 0; i -= 1) {
      const layer = layers[i - 1], slope = slopes[i];
      if (slope === undefined) continue;
      if (layer.relu) for (let j = 0; j < slope.length; j += 1) if (!(values[i].data[j] > 0)) slope[j] = 0;
      back[layer.kind](net, layer, values, slopes, slope);
    }
    return slopes[0];
  };

  shared.Network = Network;
})(candidTry);

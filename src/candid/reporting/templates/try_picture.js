// A picture's file as the square of pixels that `candid predict` makes of it.
//
// The browser decodes, turns (EXIF) and brings colours to sRGB; what follows is written as Pillow
// does it: a JPEG's coarser decoding, the reduction by whole factors and, whole number for whole
// number, the bicubic resampling, across and then down. (Pillow 13 goes down first where it expects
// that to be quicker; a pixel then differs by a level or two, as between versions of Pillow.) Pixels are (height, width, 3), from 0 to 255.
(function (shared) {
  "use strict";

  const MOST = 1 << 26; // pixels that a page should hold, whatever the run allows
  const STRIP = 1 << 22; // pixels that are read at a time

  class Unreadable extends Error {}
  const refuse = (why) => { throw new Unreadable(why); };

  // --- what the file says of itself -------------------------------------------------------------

  const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  const DAMAGED = "It is damaged or cut short.";

  const jpegSize = (bytes, view) => {
    let at = 2, size = null;
    while (at + 4 <= bytes.length) {
      if (bytes[at] !== 0xff) refuse(DAMAGED);
      const marker = bytes[at + 1];
      if (marker === 0xff) { at += 1; continue; }
      if (marker === 0xda) break;
      if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker) && at + 9 <= bytes.length) {
        size = [view.getUint16(at + 7), view.getUint16(at + 5)];
      }
      at += 2 + view.getUint16(at + 2);
    }
    let end = bytes.length - 1; // a camera may write something after the end
    while (end > at && !(bytes[end - 1] === 0xff && bytes[end] === 0xd9)) end -= 1;
    return size && end > at ? size : refuse(DAMAGED);
  };

  const pngSize = (bytes, view) => {
    if (bytes.length < 33) refuse(DAMAGED);
    for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
      if (ascii(bytes, at + 4, 4) === "IEND") return [view.getUint32(16), view.getUint32(20)];
    }
    return refuse(DAMAGED);
  };

  const webpSize = (bytes, view) => {
    if (bytes.length < 30 || bytes.length < 8 + view.getUint32(4, true)) refuse(DAMAGED);
    const kind = ascii(bytes, 12, 4), three = (at) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    if (kind === "VP8X") return [three(24) + 1, three(27) + 1];
    if (kind === "VP8 ") return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
    const packed = view.getUint32(21, true);
    return [(packed & 0x3fff) + 1, ((packed >> 14) & 0x3fff) + 1];
  };

  // Its kind and the size that it claims, without decoding anything.
  const head = (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (!bytes.length) refuse("It is an empty file.");
    const opening = ascii(bytes, 0, Math.min(12, bytes.length));
    if (opening.startsWith("\xff\xd8\xff")) return ["image/jpeg", jpegSize(bytes, view)];
    if (opening.startsWith("\x89PNG\r\n\x1a\n")) return ["image/png", pngSize(bytes, view)];
    if (opening.startsWith("RIFF") && opening.endsWith("WEBP")) return ["image/webp", webpSize(bytes, view)];
    if (opening.startsWith("GIF8") && bytes.length > 13) {
      return ["image/gif", [view.getUint16(6, true), view.getUint16(8, true)]];
    }
    if (opening.startsWith("BM") && bytes.length > 30) {
      return ["image/bmp", [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))]];
    }
    if (/^(II\*\0|MM\0\*|P[1-6]\s)/.test(opening)) {
      refuse("Browsers do not decode TIFF and PPM; candid predict does.");
    }
    return refuse("It is not a picture in a known format (JPEG, PNG, WebP, GIF, BMP).");
  };

  // --- decoding ---------------------------------------------------------------------------------

  // How much coarser Pillow decodes a JPEG that is far larger than needed: 1, 2, 4 or 8.
  const coarser = (kind, width, height, { side, fit }) => {
    if (kind !== "image/jpeg" || Math.max(width, height) <= 2 * side) return 1;
    const [w, h] = fitted(width, height, side, fit);
    const scale = Math.min(Math.floor(width / (2 * w)), Math.floor(height / (2 * h)));
    return [8, 4, 2, 1].find((s) => s <= scale) ?? 1;
  };

  // Of a block's 8 cosines the lowest ones, and as many pixels of these: (8 / factor, 8) weights.
  const lowest = (factor) => {
    const kept = 8 / factor, cosine = (n, k, x) => Math.cos(((2 * x + 1) * k * Math.PI) / (2 * n));
    return Array.from({ length: kept }, (_, to) => Array.from({ length: 8 }, (__, from) => {
      let sum = 1 / 8;
      for (let k = 1; k < kept; k += 1) sum += (cosine(kept, k, to) * cosine(8, k, from)) / 4;
      return sum;
    }));
  };

  const eighth = (rgba, width, rows, factor, out, at) => {
    const weights = lowest(factor), kept = weights.length, wide = Math.ceil(width / factor);
    const across = new Float64Array(8 * wide * 3);
    for (let top = 0; top < rows; top += 8) {
      for (let y = 0; y < 8; y += 1) for (let x = 0; x < wide; x += 1) for (let c = 0; c < 3; c += 1) {
        const block = Math.floor(x / kept) * 8, weigh = weights[x % kept], row = Math.min(top + y, rows - 1) * width;
        let sum = 0;
        for (let i = 0; i < 8; i += 1) sum += weigh[i] * rgba[4 * (row + Math.min(block + i, width - 1)) + c];
        across[(y * wide + x) * 3 + c] = sum;
      }
      for (let y = 0; y < kept && (top / 8) * kept + y < Math.ceil(rows / factor); y += 1) {
        for (let x = 0; x < 3 * wide; x += 1) {
          let sum = 0;
          for (let i = 0; i < 8; i += 1) sum += weights[y][i] * across[i * 3 * wide + x];
          out[at + ((top / 8) * kept + y) * wide * 3 + x] = Math.round(sum);
        }
      }
    }
  };

  // The picture's pixels over white, `factor` times coarser, read strip by strip.
  const pixelsOf = (bitmap, factor) => {
    const { width, height } = bitmap, wide = Math.ceil(width / factor), high = Math.ceil(height / factor);
    const data = new Uint8ClampedArray(wide * high * 3);
    const step = Math.max(8, Math.floor(STRIP / width / 8) * 8);
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = Math.min(step, height);
    const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    for (let top = 0, at = 0; top < height; top += step) {
      const rows = Math.min(step, height - top);
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, rows);
      context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
      const rgba = context.getImageData(0, 0, width, rows).data;
      if (factor > 1) eighth(rgba, width, rows, factor, data, at);
      else for (let i = 0, j = at; i < rgba.length; i += 4, j += 3) {
        data[j] = rgba[i]; data[j + 1] = rgba[i + 1]; data[j + 2] = rgba[i + 2];
      }
      at += Math.ceil(rows / factor) * wide * 3;
    }
    return { width: wide, height: high, data };
  };

  // --- resampling, as Pillow's ------------------------------------------------------------------

  const cubic = (x) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? -0.5 * (((d - 5) * d + 8) * d - 4) : 0;
  };

  // For each of `size` pixels where its window begins and its weights, in shares of 2²² as Pillow's.
  const windows = (length, from, to, size) => {
    const scale = (to - from) / size, wide = Math.max(1, scale), reach = 2 * wide;
    return Array.from({ length: size }, (_, i) => {
      const centre = from + (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - reach + 0.5));
      const last = Math.min(length, Math.trunc(centre + reach + 0.5));
      const weights = [];
      for (let x = first; x < last; x += 1) weights.push(cubic((x - centre + 0.5) / wide));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { first, weights: weights.map((w) => Math.trunc((w / sum) * 4194304 + (w < 0 ? -0.5 : 0.5))) };
    });
  };

  const clip = (sum) => Math.max(0, Math.min(255, Math.floor((sum + 2097152) / 4194304)));

  const resampled = (image, width, height, [left, top, right, bottom]) => {
    let { data } = image, w = image.width;
    if (width !== w || left !== 0 || right !== w) {
      const out = new Uint8Array(width * image.height * 3);
      windows(w, left, right, width).forEach(({ first, weights }, x) => {
        for (let y = 0; y < image.height; y += 1) for (let c = 0; c < 3; c += 1) {
          let sum = 0;
          for (let i = 0, at = (y * w + first) * 3 + c; i < weights.length; i += 1, at += 3) sum += weights[i] * data[at];
          out[(y * width + x) * 3 + c] = clip(sum);
        }
      });
      data = out;
      w = width;
    }
    if (height !== image.height || top !== 0 || bottom !== image.height) {
      const out = new Uint8Array(w * height * 3);
      windows(image.height, top, bottom, height).forEach(({ first, weights }, y) => {
        for (let x = 0; x < 3 * w; x += 1) {
          let sum = 0;
          for (let i = 0, at = first * 3 * w + x; i < weights.length; i += 1, at += 3 * w) sum += weights[i] * data[at];
          out[y * 3 * w + x] = clip(sum);
        }
      });
      data = out;
    }
    return { width: w, height, data };
  };

  // The mean of blocks of fx × fy pixels, from (left, top) on; the last ones may be smaller.
  const reduced = (image, fx, fy, [left, top, right, bottom]) => {
    const width = Math.ceil((right - left) / fx), height = Math.ceil((bottom - top) / fy);
    const data = new Uint8Array(width * height * 3);
    for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) for (let c = 0; c < 3; c += 1) {
      const x1 = Math.min(right, left + (x + 1) * fx), y1 = Math.min(bottom, top + (y + 1) * fy);
      let sum = 0, count = 0;
      for (let v = top + y * fy; v < y1; v += 1) for (let u = left + x * fx; u < x1; u += 1, count += 1) {
        sum += image.data[(v * image.width + u) * 3 + c];
      }
      data[(y * width + x) * 3 + c] = Math.floor((sum + (count >> 1)) / count);
    }
    return { width, height, data };
  };

  const resize = (image, width, height, box) => {
    const [left, top, right, bottom] = box, across = (right - left) / width, down = (bottom - top) / height;
    const fx = Math.trunc(across / 3) || 1, fy = Math.trunc(down / 3) || 1;
    if (fx === 1 && fy === 1) return resampled(image, width, height, box);
    // What the bicubic filter reaches beyond the box, too.
    const safe = [
      Math.max(0, Math.trunc(left - 1.5 * across)), Math.max(0, Math.trunc(top - 1.5 * down)),
      Math.min(image.width, Math.ceil(right + 1.5 * across)), Math.min(image.height, Math.ceil(bottom + 1.5 * down)),
    ];
    const small = reduced(image, fx, fy, safe);
    return resampled(small, width, height,
      [(left - safe[0]) / fx, (top - safe[1]) / fy, (right - safe[0]) / fx, (bottom - safe[1]) / fy]);
  };

  // --- a square ---------------------------------------------------------------------------------

  const even = (x) => { // rounded as Python does: halves to even numbers
    const r = Math.round(x);
    return r - x === 0.5 && r % 2 ? r - 1 : r;
  };

  const fitted = (width, height, side, fit) => {
    if (fit === "stretch") return [side, side];
    const scale = side / (fit === "crop" ? Math.min(width, height) : Math.max(width, height));
    return [width, height].map((length) => Math.max(1, even(length * scale)));
  };

  const square = (image, side, fit) => {
    const { width, height } = image;
    if (width === side && height === side) return image;
    if (fit === "crop") {
      const edge = Math.min(width, height), left = (width - edge) >> 1, top = (height - edge) >> 1;
      return resize(image, side, side, [left, top, left + edge, top + edge]);
    }
    const [w, h] = fitted(width, height, side, fit);
    const small = resize(image, w, h, [0, 0, width, height]);
    if (fit === "stretch") return small;
    const data = new Uint8Array(side * side * 3), left = (side - w) >> 1, top = (side - h) >> 1;
    for (let c = 0; c < 3; c += 1) {
      let sum = 0;
      for (let i = c; i < small.data.length; i += 3) sum += small.data[i];
      const mean = even(sum / (w * h));
      for (let i = c; i < data.length; i += 3) data[i] = mean;
    }
    for (let y = 0; y < h; y += 1) {
      data.set(small.data.subarray(y * w * 3, (y + 1) * w * 3), ((top + y) * side + left) * 3);
    }
    return { width: side, height: side, data };
  };

  // Twice as fine where the picture allows, the mean of each 2 × 2 the pixel that it would be else.
  const detailed = (image, side, fit) => {
    const coarse = square(image, side, fit).data, wide = 2 * side;
    const plain = Math.min(image.width, image.height) <= side;
    const fine = plain ? null : square(image, wide, fit).data;
    const data = new Uint8Array(wide * wide * 3);
    for (let y = 0; y < side; y += 1) for (let x = 0; x < side; x += 1) for (let c = 0; c < 3; c += 1) {
      const at = (2 * y * wide + 2 * x) * 3 + c, four = [at, at + 3, at + 3 * wide, at + 3 * wide + 3];
      const pixel = coarse[(y * side + x) * 3 + c];
      const lack = plain ? 0 : 4 * pixel - four.reduce((sum, i) => sum + fine[i], 0);
      const each = Math.floor(lack / 4), rest = lack - 4 * each;
      four.forEach((i, k) => {
        data[i] = plain ? pixel : Math.max(0, Math.min(255, fine[i] + each + (k < rest ? 1 : 0)));
      });
    }
    return { width: wide, height: wide, data };
  };

  // --- all of it --------------------------------------------------------------------------------

  // A file's bytes as { square, width, height, bitmap }; Unreadable, in words, where it is none.
  shared.readPicture = async (bytes, how) => {
    const [kind, [claimedWidth, claimedHeight]] = head(bytes);
    const most = Math.min(how.maxPixels, MOST);
    if (!(claimedWidth > 0 && claimedHeight > 0)) refuse(DAMAGED);
    if (claimedWidth * claimedHeight > most) {
      const words = [claimedWidth, claimedHeight, most].map((n) => n.toLocaleString("en"));
      refuse(`It claims ${words[0]} × ${words[1]} pixels, more than the ${words[2]} that are taken here.`);
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(new Blob([bytes], { type: kind }));
    } catch (error) {
      refuse(DAMAGED);
    }
    const { width, height } = bitmap, { side, fit, detail } = how;
    let image;
    try {
      image = pixelsOf(bitmap, coarser(kind, width, height, how));
    } catch (error) {
      refuse("The browser could not hold its pixels.");
    }
    const made = detail === 2 ? detailed(image, side, fit) : square(image, side, fit);
    return { square: made.data, width, height, bitmap };
  };

  shared.Unreadable = Unreadable;
})(candidTry);

// What the page holds deflated, as text: two of 91 letters for every 13 bits. See `packed.py`.
const candidPacked = (function () {
  "use strict";
  const LETTERS = 91, BITS = 13;

  const bytesOf = (text, size) => {
    const places = new Uint8Array(128), bytes = new Uint8Array(size);
    for (let code = 33, place = 0; code < 127; code += 1) {
      if (!"&<>".includes(String.fromCharCode(code))) { places[code] = place; place += 1; }
    }
    for (let at = 0, to = 0, held = 0, count = 0; to < size; at += 2) {
      held = (held << BITS) | (places[text.charCodeAt(at)] + LETTERS * places[text.charCodeAt(at + 1)]);
      for (count += BITS; count >= 8 && to < size; to += 1) {
        count -= 8;
        bytes[to] = held >> count;
      }
      held &= 0xff;
    }
    return bytes;
  };

  const able = "DecompressionStream" in window;

  // The bytes that an element's text holds.
  const read = async (id) => {
    if (!able) throw new Error("This browser has no DecompressionStream; one of 2023 or later does.");
    const { textContent, dataset } = document.getElementById(id);
    const bytes = bytesOf(textContent, Number(dataset.size));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  const text = async (id) => new TextDecoder().decode(await read(id));

  return { able, read, text };
})();

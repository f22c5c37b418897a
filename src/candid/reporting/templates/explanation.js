
(function () {
  "use strict";
  const section = document.getElementById("explanation");
  if (!section) return;

  // --- how strong the map is over the face: every slider moves with the others ------------------
  const sliders = [...section.querySelectorAll(".strength input")];
  const say = (value) => {
    if (value === 0) return "the face alone";
    if (value === 100) return "the map alone";
    return value <= 50 ? "face, map at " + 2 * value + "%" : "map, face at " + 2 * (100 - value) + "%";
  };
  const set = (value) => {
    section.style.setProperty("--t", String(value / 100));
    for (const slider of sliders) {
      slider.value = String(value);
      slider.setAttribute("aria-valuetext", say(value));
    }
  };
  for (const slider of sliders) slider.addEventListener("input", () => set(Number(slider.value)));
  // Going back in history, some browsers fill in the old value.
  if (sliders.length) set(Number(sliders[0].value));

  // --- which face, which method -----------------------------------------------------------------
  const choose = (radio) => {
    for (const panel of section.querySelectorAll('.panel[data-group="' + radio.name + '"]')) {
      panel.classList.toggle("chosen", panel.id === radio.value);
    }
  };
  for (const radio of section.querySelectorAll('.viewer input[type="radio"]')) {
    radio.addEventListener("change", () => choose(radio));
    if (radio.checked) choose(radio);
  }
})();

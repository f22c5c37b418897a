"""A page as it is looked at: on a phone, enlarged, by somebody whom motion makes ill."""

from __future__ import annotations

from reporting.browser import Browser

# What reaches over the right edge of the window and that no box of its own lets scroll.
_HANGING = """
[...document.body.querySelectorAll('*')].filter((e) => {
  const box = e.getBoundingClientRect();
  if (!box.width || !box.height || box.right <= innerWidth + 1 || e.closest('.skip')) return false;
  for (let at = e; at; at = at.parentElement) {
    if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(at).overflowX)
      && at.getBoundingClientRect().right <= innerWidth + 1) return false;
  }
  return true;
}).slice(0, 5).map((e) => e.outerHTML.slice(0, 200))
"""
_MOVING = """
[...document.querySelectorAll('*')].filter((e) => [null, '::before', '::after'].some((part) => {
  const style = getComputedStyle(e, part);
  return style.animationName !== 'none' || style.transitionDuration.split(',').some(parseFloat);
})).length + document.getAnimations().length
"""
# A sheet's own rule, as it could stand there one day.
_MOVE = """
document.styleSheets[0].insertRule('@keyframes turn { to { rotate: 1turn } }', 0);
document.styleSheets[0].insertRule(
  'p, button::after { content: ""; transition: opacity 9s; animation: turn 9s infinite }', 1);
"""


def hanging_out(browser: Browser, width: int, *, enlarged: float = 1.0) -> list[str]:
    """What hangs out of a window so wide, at a size of letters so many times the usual.

    As a browser's own zoom has it: fewer pixels of the page in the window, each of them larger.
    """
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=round(width / enlarged),
        height=round(900 / enlarged),
        deviceScaleFactor=enlarged,
        mobile=width < 600,
    )
    over = browser.value("document.documentElement.scrollWidth") - round(width / enlarged)
    found: list[str] = browser.value(_HANGING)
    return [f"{over} pixels", *found] if over > 0 else found


def open_tables(browser: Browser) -> list[str]:
    """Tables that are wider than the window and lie in no box that scrolls."""
    found: list[str] = browser.value(
        "[...document.querySelectorAll('table')].filter((t) => t.scrollWidth > innerWidth && "
        "getComputedStyle(t.closest('.scroll') ?? document.body).overflowX !== 'auto')"
        ".map((t) => t.outerHTML.slice(0, 200))"
    )
    return found


def lost_names(browser: Browser) -> list[str]:
    """Tables whose rows lose their names where their box is scrolled to its end."""
    found: list[str] = browser.value("""
      [...document.querySelectorAll('.scroll')].filter((box) => {
        const name = box.querySelector('tbody th:first-child');
        if (!name || box.scrollWidth <= box.clientWidth) return false;
        box.scrollLeft = box.scrollWidth;
        const { left, right } = name.getBoundingClientRect(), at = box.getBoundingClientRect();
        return left < at.left - 1 || right > at.right;
      }).map((box) => box.getAttribute('aria-label'))
    """)
    return found


def motion(browser: Browser, *, reduced: bool) -> tuple[int, int, str]:
    """What moves: on the page, where its sheet were to ask for it, and how it scrolls."""
    wish = "reduce" if reduced else "no-preference"
    feature = {"name": "prefers-reduced-motion", "value": wish}
    browser.call("Emulation.setEmulatedMedia", features=[feature])
    before = browser.value(_MOVING)
    browser.value(_MOVE)
    scrolls = "getComputedStyle(document.documentElement).scrollBehavior"
    return before, browser.value(_MOVING), browser.value(scrolls)

"""The shapes of a Face, each painted over those behind it.

Lengths are in half image sides; see the canvas for the coordinates.
"""

from __future__ import annotations

import math

import numpy as np

from candid.data.synthetic.canvas import Canvas, Points, circle, mirror, spline
from candid.data.synthetic.face import Face


def paint(canvas: Canvas, face: Face) -> None:
    """Paint the face, from back to front."""
    _draw_behind(canvas, face)
    _draw_head(canvas, face)
    _draw_eyes(canvas, face)
    _draw_mouth(canvas, face)
    _draw_hair(canvas, face)
    _draw_brows(canvas, face)
    if face.hat:
        _draw_hat(canvas, face)
    if face.glasses:
        _draw_glasses(canvas, face)
    if face.earrings:
        _draw_earrings(canvas, face)
    canvas.finish()


def _outline(face: Face) -> list[tuple[float, float]]:
    """The right half of the head's outline from the crown to the chin."""
    w, square = face.head_width, (face.jaw + 1) / 2
    return [
        (0.0, -0.61),
        (0.55 * w, -0.565),
        (0.9 * w, -0.36),
        (w, -0.08),
        ((0.945 + 0.045 * square) * w, 0.2),
        ((0.735 + 0.17 * square) * w, 0.415 + 0.025 * square),
        ((0.36 + 0.22 * square) * w, face.chin - 0.07 + 0.035 * square),
        (0.0, face.chin),
    ]


def _band(u: Points, top: Points, bottom: Points) -> Points:
    """The polygon between two curves over the same `u`."""
    return np.vstack([np.column_stack([u, top]), np.column_stack([u, bottom])[::-1]])


def _draw_behind(canvas: Canvas, face: Face) -> None:
    w, full = face.head_width, 0.0 if face.hat else face.volume
    if face.hair_style == "Long":
        points = [(0.0, -0.68), (w, -0.45), (w + 0.12, 0.1), (w + 0.15 + 0.08 * face.volume, 0.7),
                  (w + 0.05, 1.0), (0.0, 1.05)]  # fmt: skip
        canvas.blob(points, "hair back", -0.1)
    elif face.hair_style == "Bob":
        points = [(0.0, -0.68), (w, -0.45), (w + 0.13, 0.05),
                  (w + 0.12 + 0.05 * face.volume, 0.42), (w - 0.08, 0.52), (0.0, 0.45)]  # fmt: skip
        canvas.blob(points, "hair back", -0.1)
    elif face.hair_style == "Curly":
        _draw_curls(canvas, face)
    elif face.hair_style == "Bun" and not face.hat:
        canvas.disc(0, -0.78, 0.17 + 0.04 * full, "hair back", -0.05)
        canvas.disc(-0.03, -0.82, 0.07, "hair light", -0.05)
    shoulders = mirror((0.0, 0.93), (0.24, 0.8), (0.45, 0.83), (0.8, 0.92), (1.15, 1.25))
    neck = np.array([(-0.23, 0.3), (0.23, 0.3), (0.25, 1.2), (-0.25, 1.2)])
    canvas.fill(neck, "neck", body=True)
    shade = spline(*mirror(*_outline(face))) + np.array([0, 0.12])
    shade[:, 0] = np.clip(shade[:, 0], -0.235, 0.235)
    canvas.fill(shade, "neck shade", body=True)
    outer = [*shoulders[:5], (0.0, 1.6), *shoulders[5:]]
    canvas.fill(spline(*outer), "clothes", body=True)
    rim = spline((0.25, 0.79), (0.17, 0.88), (0.0, 0.94), (-0.17, 0.88), (-0.25, 0.79),
                  closed=False)  # fmt: skip
    canvas.fill(np.vstack([rim, rim[::-1] + np.array([0, 0.05])]), "collar", body=True)


def _draw_curls(canvas: Canvas, face: Face) -> None:
    w, r = face.head_width, 0.1 + 0.05 * face.volume
    top = -0.2 if face.hat else -0.66
    reach = w + 0.05 + 0.09 * face.volume
    canvas.disc(0, -0.16, (reach, 0.5 + 0.08 * face.volume if not face.hat else 0.3), "hair back")
    for k in range(17):
        angle = math.pi * (-0.12 + 1.24 * k / 16)
        u = reach * math.cos(angle)
        v = -0.16 - (0.52 + 0.1 * face.volume) * math.sin(angle)
        if v > top or not face.hat:
            size = r * (1 + 0.18 * math.sin(5.1 * k + 3 * face.parting))
            canvas.disc(u, max(v, top - 0.1), size, "hair back")


def _draw_head(canvas: Canvas, face: Face) -> None:
    w = face.head_width
    for d in (-1, 1):
        ear = (0.06 * face.ears, 0.11 * face.ears)
        canvas.disc(d * (w + 0.015), 0.03, ear, "ear", -0.05)
        canvas.disc(d * (w + 0.022), 0.035, (0.55 * ear[0], 0.6 * ear[1]), "ear shade", -0.05)
    canvas.blob(_outline(face), "skin")
    if face.freckles:
        for k in range(14):
            d = 1 if k % 2 else -1
            u, v = 0.12 + 0.19 * ((k * 0.618) % 1), 0.1 + 0.12 * ((k * 0.414) % 1)
            canvas.disc(d * u, v, 0.011, "skin mark")
    if face.beard:
        _draw_beard(canvas, face)
    away = -1 if face.light_from > 0 else 1
    n = face.nose_size
    canvas.fill(spline((0.012 * away, -0.1), (0.045 * away * n, -0.07), (0.028 * away * n, 0.05),
                        (0.078 * away * n, 0.17), (0.05 * away * n, 0.205), (0.0, 0.21)),
                "nose shade", 0.06)  # fmt: skip
    wing = spline((-0.074 * n, 0.165), (-0.06 * n, 0.203), (0.0, 0.218), (0.06 * n, 0.203),
                   (0.074 * n, 0.165), closed=False)  # fmt: skip
    canvas.fill(np.vstack([wing, wing[::-1] * (0.9, 1) - (0, 0.016)]), "nose shade", 0.08)
    for d in (-1, 1):
        canvas.disc(d * 0.034 * n, 0.202, (0.019 * n, 0.011), "nostril", 0.08)
    canvas.disc(-0.018 * away, 0.145, (0.02 * n, 0.026), "nose light", 0.1)


def _draw_beard(canvas: Canvas, face: Face) -> None:
    w = face.head_width
    right = [(u * 1.015, v * 1.015) for u, v in _outline(face)[4:]]
    inner = [(0.0, 0.475), (0.17, 0.46), (0.25, 0.4), (0.55 * w, 0.36), (0.83 * w, 0.27),
             (0.95 * w, 0.05)]  # fmt: skip
    for d in (-1, 1):
        half = np.array([(0.985 * w, 0.03), *right, *inner]) * (d, 1)
        canvas.fill(spline(*map(tuple, half)), "beard")


def _draw_eyes(canvas: Canvas, face: Face) -> None:
    half, high = 0.116 * face.eye_size, 0.073 * face.eye_size
    x = np.linspace(-1, 1, 15)
    upper = -high * (1 - np.abs(x) ** 2.3)
    lower = high * (0.62 if face.smiling else 0.8) * (1 - x**2)
    middle, balls = np.array([0.022 * face.gaze, -0.008]), []
    for radius, paint in ((0.068, "iris"), (0.053, "iris light"), (0.033, "pupil")):
        ball = middle + radius * face.eye_size * circle(22)
        ball[:, 1] = np.clip(ball[:, 1], np.interp(ball[:, 0], half * x, upper),
                             np.interp(ball[:, 0], half * x, lower))  # fmt: skip
        balls.append((ball, paint))
    for d in (-1, 1):
        eye = np.array([d * face.eye_gap, -0.02])
        lid = np.column_stack([half * x, upper])
        canvas.fill(eye + _band(half * x, upper, lower), "eye white", 0.02)
        for ball, paint in balls:
            canvas.fill(eye + ball, paint, 0.02)
        shine = circle(12) * 0.016 + (0.02 if face.light_from > 0 else -0.02, -0.02)
        canvas.fill(eye + middle + shine, "glint", 0.02)
        canvas.stroke(eye + lid * (1.04, 1), 0.02, "lash", 0.02)
        fold = eye + lid[2:-2] * (1.02, 1.0) - (0, 0.032)
        canvas.stroke(fold, 0.012, "crease", 0.02)


def _draw_brows(canvas: Canvas, face: Face) -> None:
    straight = (face.brow + 1) / 2
    s = np.linspace(0, 1, 11)
    u = 0.085 + 0.245 * s
    arch = 0.085 * (1 - straight)
    v = -0.165 - arch * np.sin(np.pi * s**0.85 * 0.92) - 0.012 * straight * np.sin(np.pi * s)
    thick = (0.017 + 0.019 * straight) * (1 - 0.62 * s**2)
    for d in (-1, 1):
        canvas.fill(_band(d * u, v - thick, v + thick), "brow", 0.03)


def _draw_mouth(canvas: Canvas, face: Face) -> None:
    smile = face.smile if face.smiling else 0.12
    x = np.linspace(-1, 1, 21)
    bow = 1 - x**2
    half = 0.15 * (1 + 0.34 * face.mouth) + 0.03 * smile
    full = face.lips * (1 + 0.15 * face.mouth)
    line = 0.385 - 0.03 * smile + 0.045 * smile * bow
    gap = 0.075 * face.opening * bow if face.mouth_open else 0 * bow
    upper = line - 0.036 * full * bow * (1 - 0.35 * np.exp(-((half * x / 0.03) ** 2)))
    lower = line + gap + 0.05 * full * bow

    def between(a: Points, b: Points, paint: str, narrow: float = 1.0) -> None:
        canvas.fill(_band(half * x * narrow, a, b), paint, 0.03)

    if face.moustache:
        tip = spline((0.0, 0.292), (0.07, 0.272), (0.17, 0.335), (0.2, 0.385), (0.1, 0.352),
                      (0.0, 0.338))  # fmt: skip
        canvas.fill(tip, "moustache", 0.05)
        canvas.fill(tip * (-1, 1), "moustache", 0.05)
    between(upper, lower, "lip")
    between(line + gap + 0.012 * full * bow, line + gap + 0.028 * full * bow, "lip light", 0.5)
    if face.mouth_open:
        between(line, line + gap, "mouth inside", 0.94)
        between(line, line + 0.45 * gap, "teeth", 0.86)
        between(line + 0.72 * gap, line + gap, "tongue", 0.6)
    else:
        seam = np.column_stack([half * x, line])
        canvas.stroke(seam, 0.013, "mouth inside", 0.03)


def _draw_hair(canvas: Canvas, face: Face) -> None:
    if face.hair_style == "Bald":
        return
    w, part = face.head_width, 0.26 * face.parting
    full = 0.0 if face.hat else face.volume
    tight = face.hair_style == "Bun"
    rise = 0.66 if tight else 0.7 + 0.09 * full
    wide = w + (0.02 if tight else 0.045 + 0.035 * full)
    burn = {"Short": 0.02, "Curly": -0.02, "Bun": -0.04}.get(face.hair_style, 0.1)
    crown = mirror((0.0, -rise), (0.55 * w, 0.04 - rise), (0.92 * wide, -0.42), (wide, -0.1),
                      (w + 0.02, burn))  # fmt: skip
    inner = [(-0.955 * w, -0.08), (-0.88 * w, -0.24), (-0.62 * w, -0.36), (part, -0.46),
             (0.62 * w, -0.36), (0.88 * w, -0.24), (0.955 * w, -0.08)]  # fmt: skip
    # Clockwise from the crown to the right ear, back along the hairline, up the left side.
    loop = [*crown[:5], *reversed(inner), *crown[5:]]
    canvas.fill(spline(*loop), "hair")
    if face.hair_style in ("Bob", "Long"):
        for d in (-1, 1):
            end = 0.42 if face.hair_style == "Bob" else 0.75
            lock = [(0.93 * w, -0.2), (1.0 * w, 0.05), (1.02 * w, 0.3), (1.06 * w, end),
                    (w + 0.12, end - 0.05), (w + 0.13, 0.1), (w + 0.05, -0.3)]  # fmt: skip
            canvas.fill(spline(*lock) * (d, 1), "hair")
    if face.hair_style == "Curly":
        for k in range(9):
            u = (k / 4 - 1) * 0.86 * w
            v = -0.47 + 0.2 * abs(k / 4 - 1) ** 2
            canvas.disc(u, v - 0.03, 0.075 + 0.02 * face.volume, "hair")
    if not face.hat:
        for reach in (0.35, 0.62, 0.85):
            for d in (-1, 1):
                far = d * w - part
                strand = spline((part + 0.35 * reach * far, 0.06 - rise),
                                 (part + 0.72 * reach * far, 0.14 - rise + 0.06 * reach),
                                 (part + (0.2 + 0.72 * reach) * far, -0.46 + 0.12 * reach),
                                 closed=False)  # fmt: skip
                canvas.stroke(strand, 0.012, "hair light")


def _draw_hat(canvas: Canvas, face: Face) -> None:
    w = face.head_width + 0.05
    if face.hat_style == "Beanie":
        canvas.disc(0, -0.9, 0.1, "hat light")
        points = [(0.0, -0.86), (0.6 * w, -0.8), (0.95 * w, -0.58), (w, -0.36),
                  (0.0, -0.4)]  # fmt: skip
        canvas.blob(points, "hat")
        cuff = [(0.0, -0.48), (0.7 * w, -0.45), (1.02 * w, -0.37), (1.02 * w, -0.23),
                (0.7 * w, -0.29), (0.0, -0.32)]  # fmt: skip
        canvas.blob(cuff, "hat band", 0.04)
        for k in range(-4, 5):
            u = 0.22 * k * w
            rib = np.array([(u, -0.465 + 0.004 * k * k), (u, -0.335 + 0.005 * k * k)])
            canvas.stroke(rib, 0.014, "hat", 0.05)
    elif face.hat_style == "Cap":
        dome = [(0.0, -0.8), (0.6 * w, -0.74), (0.96 * w, -0.52), (w, -0.3), (0.5 * w, -0.38),
                (0.0, -0.4)]  # fmt: skip
        canvas.blob(dome, "hat")
        canvas.stroke(spline((0.0, -0.8), (0.0, -0.55), closed=False), 0.012, "hat band")
        canvas.disc(0, -0.8, (0.04, 0.022), "hat band")
        visor = [(0.0, -0.44), (0.55 * w, -0.42), (0.93 * w, -0.34), (1.0 * w, -0.26),
                 (0.62 * w, -0.29), (0.0, -0.32)]  # fmt: skip
        canvas.blob(visor, "hat band", 0.1)
    else:
        points = [(0.0, -0.87), (0.5 * w, -0.86), (0.74 * w, -0.7), (0.84 * w, -0.38),
                  (0.0, -0.36)]  # fmt: skip
        canvas.blob(points, "hat")
        ribbon = [(0.0, -0.52), (0.6 * w, -0.5), (0.85 * w, -0.46), (0.87 * w, -0.36), (0.0, -0.38)]
        canvas.blob(ribbon, "hat band", 0.02)
        canvas.fill(np.array([0, -0.385]) + circle(40) * (0.86, 0.085), "hat", 0.0)
        canvas.stroke(np.array([0, -0.375]) + circle(40)[2:19] * (0.8, 0.07), 0.014, "hat light")


def _draw_glasses(canvas: Canvas, face: Face) -> None:
    ring = circle(32)
    if face.round_lenses:
        lens = ring * 0.142
    else:  # a superellipse
        lens = np.sign(ring) * np.abs(ring) ** 0.5 * (0.162, 0.118)
    ear = face.head_width + 0.01
    for d in (-1, 1):
        middle = np.array([d * (face.eye_gap + 0.006), -0.012])
        rim = middle + lens
        outer = float(np.abs(rim[:, 0]).max())
        canvas.stroke(np.array([(d * outer, -0.05), (d * ear, -0.03)]), 0.022, "frame", 0.03)
        if face.dark_lenses:
            canvas.fill(rim, "lens", 0.07)
            slant = middle + np.array([(-0.07, 0.05), (-0.03, 0.05), (0.05, -0.06), (0.01, -0.06)])
            canvas.fill(slant, "lens light", 0.07)
        canvas.stroke(np.vstack([rim, rim[:2]]), 0.024, "frame", 0.07)
    inner = face.eye_gap + 0.006 - float(lens[:, 0].max())
    bridge = spline((-inner, -0.04), (0.0, -0.062), (inner, -0.04), closed=False)
    canvas.stroke(bridge, 0.024, "frame", 0.08)


def _draw_earrings(canvas: Canvas, face: Face) -> None:
    for d in (-1, 1):
        u = d * (face.head_width + 0.025)
        canvas.disc(u, 0.03 + 0.11 * face.ears + 0.035, 0.034, "earring", -0.03)

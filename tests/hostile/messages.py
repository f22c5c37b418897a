"""Hostile requests to the server, as the bytes that go over the wire."""

from __future__ import annotations

import base64
import json
from random import Random

from hostile import mutate, pictures

PATHS = (
    *(b"/v1/predict", b"/v1/predict", b"/v1/predict", b"/v1/explain", b"/v1/models", b"/"),
    *(b"/metrics", b"/readyz", b"/healthz", b"/openapi.json", b"/page.js", b"/reports/model"),
    *(b"/v1/predict/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//evil", b"/\xff", b"*"),
    b"/v1/models/" + b"x" * 9000,
)
QUERIES = (
    *(
        b"",
        b"",
        b"",
        b"?model=none",
        b"?method=gradient",
        b"?class=yes&output=png",
        b"?strength=nan",
    ),
    *(b"?strength=" + b"9" * 4000, b"?model=%00", b"?a=" + b"b" * 70_000, b"?model[]=1&model[]=2"),
)
HEADERS = (
    *(b"Host: evil.example", b"Host: [::1].evil", b"Origin: null", b"Content-Length: 5"),
    *(b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1, 2"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue"),
    *(
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: " + b"x" * 20_000,
        b"X: " + b"y" * 70_000,
    ),
    *(
        b"Range: bytes=0-1,2-3,-9",
        b"Content-Encoding: gzip",
        b"Connection: upgrade",
        b"Upgrade: websocket",
    ),
    *(b"no colon", b" folded: x", b"a\0b: c", b"Cookie: " + b";" * 5000, b"Accept: */*;q=nan"),
    *(b"X-Forwarded-For: 1.2.3.4, " + b"9" * 500, b"Content-Type: image/png; charset=\xff"),
)


def _picture(rng: Random) -> bytes:
    return rng.choice((pictures.spoilt, pictures.encoded, pictures.numbers, pictures.rows_cut))(rng)


def _json(rng: Random) -> bytes:
    images = [base64.b64encode(_picture(rng)).decode() for _ in range(rng.choice((1, 3)))]
    plain: object = {"images": images}
    if rng.random() < 0.7:
        plain = mutate.spoil_plain(plain, rng)
    if rng.random() < 0.1:
        return b"[" * 100_000
    return (
        mutate.spoil(json.dumps(plain).encode(), rng)
        if rng.random() < 0.3
        else json.dumps(plain).encode()
    )


def _form(rng: Random) -> bytes:
    parts = []
    for _ in range(rng.choice((0, 1, 3, 40))):
        name = pictures.file_name(rng)
        about = b'Content-Disposition: form-data; name="images"; filename="' + name + b'"'
        odd = rng.choice(
            (
                b"",
                b"\r\nContent-Type: image/png",
                b"\r\nContent-Transfer-Encoding: base64",
                b"\r\nX: " + b"y" * 9000,
            )
        )
        parts.append(b"--b\r\n" + about + odd + b"\r\n\r\n" + _picture(rng) + b"\r\n")
    body = b"".join(parts) + b"--b--\r\n"
    return mutate.spoil(body, rng) if rng.random() < 0.5 else body


BODIES = (
    (b"image/png", _picture),
    (b"application/json", _json),
    (b"multipart/form-data; boundary=b", _form),
    (b"text/plain", lambda rng: rng.randbytes(100)),
    (b"", lambda rng: b""),
)


def one(rng: Random) -> bytes:
    """A request with a body, of which something may be odd."""
    kind, make = rng.choice(BODIES)
    body = make(rng)
    method = rng.choice(
        (b"POST", b"POST", b"POST", b"POST", b"GET", b"PUT", b"OPTIONS", b"HEAD", b"\xff", b"TRACE")
    )
    head = [
        method + b" " + rng.choice(PATHS) + rng.choice(QUERIES) + b" HTTP/1.1",
        b"Host: localhost",
    ]
    head += [b"Content-Type: " + kind] if kind else []
    head += [b"Content-Length: %d" % len(body)] if rng.random() < 0.9 else []
    head += rng.sample(HEADERS, rng.choice((0, 0, 1, 2)))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(rng: Random) -> bytes:
    body = _picture(rng)
    sizes = (
        b"%x" % len(body),
        b"fffffffffffffff",
        b"-1",
        b"zz",
        b"%x;a=b" % len(body),
        b"0" * 9000 + b"5",
    )
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    trailer = rng.choice((b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"0\r\n" + b"X: y\r\n" * 2000))
    return head + rng.choice(sizes) + b"\r\n" + body + b"\r\n" + trailer


def spoilt(rng: Random) -> bytes:
    return mutate.spoil(one(rng), rng)


def many(rng: Random) -> bytes:
    """One after the other on one connection, before any is answered."""
    return b"".join(one(rng) for _ in range(rng.choice((2, 5))))


def other(rng: Random) -> bytes:
    return rng.choice(
        (
            b"\x16\x03\x01\x02\x00\x01",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n" * 500,
            b"GET",
            rng.randbytes(2000),
            b"GET / HTTP/9.9\r\n\r\n",
        )
    )


KINDS = {"one": one, "chunked": chunked, "spoilt": spoilt, "many": many, "other": other}

"""The page for people, and what it is made of; served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from candid.serving.authorisation import keep
from candid.style import page_templates, shared_css, theme_js

# Nothing runs or loads but what comes from this server; pictures may also come from the user.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# A run may come from anyone: its report runs as if it came from nowhere, and reaches nothing.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/crop.js": ("crop.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def add_page(app: FastAPI, key: str, guard: list[Any]) -> None:
    """Serve the page at `/`; it asks the API like any other client, and for the key if need be."""

    @app.post("/key", dependencies=guard, include_in_schema=False)
    async def keep_key(request: Request) -> Response:
        response = Response(status_code=204)
        keep(response, request.scope, key)
        return response

    for address, give in give_files(_FILES, "page.css").items():
        app.add_api_route(address, give, methods=["GET"], include_in_schema=False)


def give_files(files: Mapping[str, tuple[str, str]], *styles: str) -> dict[str, Any]:
    """What answers at the address of each file of a page, and at those of what all pages share.

    `files` gives a file's name and type by its address, a page being made of the parts that all
    pages share; `/page.css` is what all pages share, followed by `styles`, and `/theme.js` their
    script.
    """
    folder = resources.files("candid.serving") / "web"
    css = shared_css() + "".join((folder / name).read_text("utf-8") for name in styles)
    pages = page_templates("candid.serving", "web")

    def held(name: str) -> bytes:
        if name.endswith(".html"):
            return pages.get_template(name).render().encode()
        return (folder / name).read_bytes()

    given = {at: _give_file(held(name), kind) for at, (name, kind) in files.items()}
    return given | {
        "/page.css": _give_file(css.encode(), "text/css; charset=utf-8"),
        "/theme.js": _give_file(theme_js().encode(), "text/javascript; charset=utf-8"),
    }


def _give_file(data: bytes, kind: str) -> Any:
    """What answers a request with a file of a page, which may load from this server alone."""
    mark = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    headers = {
        "Content-Type": kind,
        "Content-Security-Policy": POLICY,
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Cache-Control": "no-cache",
        "ETag": mark,
    }

    async def give(request: Request) -> Response:
        if request.headers.get("if-none-match") == mark:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers)

    return give

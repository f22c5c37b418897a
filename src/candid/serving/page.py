"""The web page and its files; served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from candid.serving.authorisation import set_cookie
from candid.style import page_templates, shared_css, theme_js

# Only this server's files may run or load; images may also come from the user.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# A run may be untrusted: its report is sandboxed, without access to anything.
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
    """Serve the page at `/`; it uses the API like any other client, and asks for the key."""

    @app.post("/key", dependencies=guard, include_in_schema=False)
    async def keep_key(request: Request) -> Response:
        response = Response(status_code=204)
        set_cookie(response, request.scope, key)
        return response

    for address, handler in file_handlers(_FILES, "page.css").items():
        app.add_api_route(address, handler, methods=["GET"], include_in_schema=False)


def file_handlers(files: Mapping[str, tuple[str, str]], *styles: str) -> dict[str, Any]:
    """Request handlers by path for a page's files, and for those that all pages share.

    `files` has a file's name and media type by path; `.html` files are templates. `/page.css` is
    the shared style sheet, followed by `styles`, and `/theme.js` the shared script.
    """
    folder = resources.files("candid.serving") / "web"
    css = shared_css() + "".join((folder / name).read_text("utf-8") for name in styles)
    pages = page_templates("candid.serving", "web")

    def read(name: str) -> bytes:
        if name.endswith(".html"):
            return pages.get_template(name).render().encode()
        return (folder / name).read_bytes()

    handlers = {path: _file_handler(read(name), kind) for path, (name, kind) in files.items()}
    return handlers | {
        "/page.css": _file_handler(css.encode(), "text/css; charset=utf-8"),
        "/theme.js": _file_handler(theme_js().encode(), "text/javascript; charset=utf-8"),
    }


def _file_handler(data: bytes, kind: str) -> Any:
    """A request handler for a file, with a policy to load from this server only."""
    etag = f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'
    headers = {
        "Content-Type": kind,
        "Content-Security-Policy": POLICY,
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
        "Cache-Control": "no-cache",
        "ETag": etag,
    }

    async def handle(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers)

    return handle

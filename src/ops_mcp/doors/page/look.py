"""How the approval page looks: one style sheet, named by its digest in the content policy, and the frame around every page."""

import base64
import hashlib
from collections.abc import Mapping

from starlette.responses import Response

from ops_mcp.doors.page.markup import Child, Html, element, joined

CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #566173; --line: #d8dee6; --ground: #f4f6f8; --card: #ffffff;
  --link: #0b57a4; --good: #17693c; --bad: #a3211b; --warn: #7a4b00; --warnground: #fff4dc; --badground: #fdeceb;
  --goodground: #e6f4ec; --bar: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3afbf; --line: #333d4a; --ground: #12171d;
  --card: #1b222b; --link: #7db8f5; --good: #7fd4a3; --bad: #ff9c94; --warn: #f0c674; --warnground: #33290f;
  --badground: #3a1d1b; --goodground: #16301f; --bar: #7db8f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; padding-block: 1rem; }
header p { margin: 0; color: var(--soft); font-size: .9rem; }
header p.name { color: var(--ink); font-weight: 700; font-size: 1.1rem; margin-right: auto; }
footer { color: var(--soft); font-size: .85rem; padding-block: 1rem 2rem; }
a { color: var(--link); }
a:focus-visible, button:focus-visible, input:focus-visible, textarea:focus-visible, summary:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.05rem; margin: 0 0 .75rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem; margin: 0 0 1rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 0 1rem;
  align-items: start; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: .86rem; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; margin: .5rem 0 0; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .35rem 1rem; margin: 0 0 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
dd.warning { color: var(--warn); font-weight: 600; }
.ask { border-left: .35rem solid var(--warn); padding-left: .9rem; margin: 0 0 1rem; }
.ask:last-child { margin-bottom: 0; }
.ask p { margin: .15rem 0; } .ask p:last-child { margin-top: .7rem; }
header button { padding: .2rem .8rem; font-size: .9rem; }
details { margin-top: .9rem; } summary { cursor: pointer; color: var(--link); }
.soft { color: var(--soft); margin: 0; }
.notice { border-radius: .6rem; padding: .7rem 1rem; margin: 0 0 1rem; border: 1px solid currentColor; }
.notice p { margin: 0; }
.bad { color: var(--bad); } .good { color: var(--good); } .warn { color: var(--warn); }
.notice.bad { background: var(--badground); } .notice.good { background: var(--goodground); }
.notice.warn { background: var(--warnground); }
.quoted { margin: 0 0 1rem; padding: .7rem .9rem; border: 1px dashed var(--soft); border-radius: .5rem; }
.quoted figcaption { color: var(--soft); font-size: .85rem; }
.quoted blockquote { margin: .25rem 0 0; font-style: italic; overflow-wrap: anywhere; white-space: pre-wrap; }
form p { margin: .9rem 0 0; }
label { font-weight: 600; } label.check { font-weight: 400; }
textarea { display: block; width: 100%; margin-top: .3rem; padding: .5rem .6rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--soft); border-radius: .4rem; }
input[type=checkbox] { width: 1.1rem; height: 1.1rem; vertical-align: -.15rem; margin: 0 .4rem 0 0; }
button, a.button { display: inline-block; font: inherit; font-weight: 600; padding: .5rem 1.1rem; border-radius: .4rem;
  border: 2px solid var(--link); background: transparent; color: var(--link); cursor: pointer; text-decoration: none; }
button.yes { border-color: var(--good); background: var(--good); color: var(--card); }
button.no { border-color: var(--bad); color: var(--bad); }
.buttons { display: flex; flex-wrap: wrap; gap: .75rem; }
meter { width: 5.5rem; height: .8rem; vertical-align: middle; }
.state { font-weight: 600; white-space: nowrap; }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } .buttons > * { flex: 1; }
  table, tbody, tr { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } tr:last-child { border-bottom: 0; padding-bottom: 0; }
  td { display: grid; grid-template-columns: 6rem 1fr; padding: .1rem 0; border: 0; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: var(--soft); } }
"""

_DIGEST = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: under that a browser says `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def framed(
    title: str, *body: Child, head: Html | None = None, foot: str | None = None, refresh: int | None = None, status: int = 200
) -> Response:
    """A whole page. With `refresh` a browser asks again after so many seconds."""
    again = element("meta", http_equiv="refresh", content=str(refresh)) if refresh else None
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="robots", content="noindex"),
            again,
            element("title", f"{title} · ops-mcp"),
            Html(f"<style>{CSS}</style>"),
        ),
        element(
            "body",
            element("header", element("p", "ops-mcp", class_="name"), head),
            element("main", *body),
            element("footer", foot) if foot else None,
        ),
        lang="en",
    )
    document = joined(Html("<!doctype html>\n"), page)
    return Response(document.encode(errors="replace"), status, HEADERS, media_type="text/html; charset=utf-8")


def section(heading: str, *body: Child) -> Html:
    return element("section", element("h2", heading), *body)


def table(headings: tuple[str, ...], rows: list[tuple[Child, ...]], empty: str) -> Html:
    """Rows under headings; `empty` is said instead where there are none. A narrow screen shows each row as a list, for which the
    cells carry their headings, and the roles that such a look would take away."""
    if not rows:
        return element("p", empty, class_="soft")
    top = element("tr", *(element("th", heading, scope="col", role="columnheader") for heading in headings), role="row")
    body = (
        element(
            "tr",
            *(element("td", cell, data_label=heading, role="cell") for heading, cell in zip(headings, row, strict=True)),
            role="row",
        )
        for row in rows
    )
    parts = element("thead", top, role="rowgroup"), element("tbody", *body, role="rowgroup")
    return element("div", element("table", *parts, role="table"), class_="scroll")


def notice(kind: str, *body: Child) -> Html:
    """Something to be seen first: `good`, `bad` or `warn`."""
    return element("div", *(element("p", part) for part in body if part), class_=f"notice {kind}", role="status")

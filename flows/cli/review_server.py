"""Serves the page of a review on this machine alone.

The address carries a token, which every request must repeat, in the address or in a header; the page sends it in the header, which no page of
another origin can. Requests for another host (a name that leads here) or from another origin are refused, and so is everything but
the page itself and its questions.
"""

import hmac
import json
import secrets
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from engage.errors import EngageError
from engage.evaluation.night_page.speakers import speakers_of
from engage.evaluation.review import CHOICES, Item, Review
from engage.pages import html_page, json_block

MOST_BYTES = 10_000
"""Of a question."""
LOOPBACK = "127.0.0.1"
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Beside the policy in the page itself, which names the hashes of its script and style."""


class ReviewServer:
    """Serves from its creation until `close`."""

    def __init__(self, review: Review, cycle_id: str) -> None:
        self._review, self._cycle_id = review, cycle_id
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._values: list[dict[str, str]] | None = None
        self.token = secrets.token_urlsafe(24)
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = _Server((LOOPBACK, 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{LOOPBACK}:{self._http.server_port}/?token={self.token}"

    def wait(self) -> None:
        """Wait until the reviewer ends the review on the page."""
        while not self._ended.wait(0.5):  # a wait without a limit would not hear Ctrl-C
            pass

    def end(self) -> None:
        """Let `wait` return."""
        self._ended.set()

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()

    def page(self) -> str:
        """The page; what is to be judged it asks for."""
        review, item = self._review, self._review.item
        of_pairs = (item or review.sample.items[0]).kind == "pair"
        population = review.sample.population
        sample = (
            f"random sample of {review.total} from {population}" if population else f"{review.total} that you named"
        )
        return html_page(
            "review.html.j2",
            title="Which reply is better?" if of_pairs else "Which dialogue is better?",
            source="search" if of_pairs else "evaluation",
            cycle_id=self._cycle_id,
            reviewer=review.reviewer,
            sample=sample,
            choices=[(key, words) for key, (_, words) in CHOICES.items()],
        )

    def answer(self, asked: Mapping[str, Any]) -> str:
        """Do what the page asks, and say what it shows next, as JSON. StoreError if a judgement cannot be kept; nothing goes on then."""
        with self._lock:
            act, review, undone = asked.get("do"), self._review, None
            if act == "judge":
                review.judge(str(asked.get("item")), str(asked.get("key")))
            elif act == "undo":
                undone = review.undo()
            elif act == "values":
                self._values = review.values()
            item = review.item
            return json_block(
                {
                    "done": review.done,
                    "total": review.total,
                    "undo": review.can_undo,
                    "undone": undone,
                    "judged": review.judged > 0,
                    "values": self._values,
                    "item": None if item is None else _shown(review, item),
                }
            )


def _shown(review: Review, item: Item) -> dict[str, Any]:
    """An item for the page: nothing in it says which side is which."""
    speakers = speakers_of(item.domain)
    left, right = review.sides(item)
    return {
        "id": item.item_id,
        "title": speakers.title,
        "who": {"assistant": speakers.assistant, "user": speakers.user},
        "condition": item.condition,
        "gist": item.gist,
        "earlier": item.earlier,
        "latest": item.latest,
        "a": left.turns,
        "b": right.turns,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away before it had its answer: the page was loaded again, or closed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_of: ReviewServer
    server_version, sys_version = "engage", ""
    timeout = 30

    def do_GET(self) -> None:
        """The page."""
        place = urlsplit(self.path)
        if place.path != "/":
            self._say(HTTPStatus.NOT_FOUND, "there is only the page itself")
        elif self._allowed(*parse_qs(place.query).get("token", [])):
            self._say(HTTPStatus.OK, self.server_of.page(), "text/html")

    def do_POST(self) -> None:
        """The page's questions."""
        size = self.headers.get("Content-Length", "")
        if self.path != "/review":
            self._say(HTTPStatus.NOT_FOUND, "there is only the page itself")
        elif not self._allowed(self.headers.get("X-Engage-Token", "")):
            return
        elif not size.isdecimal() or len(size) > len(str(MOST_BYTES)) or int(size) > MOST_BYTES:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the question is too long")
        else:
            self._answer(self.rfile.read(int(size)))

    def _answer(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            self._say(HTTPStatus.BAD_REQUEST, "the question is no JSON object")
            return
        try:
            self._say(HTTPStatus.OK, self.server_of.answer(asked), "application/json")
        except EngageError as error:
            self._say(HTTPStatus.CONFLICT, str(error))
            return
        if asked.get("do") == "finish":  # only once the page has its answer
            self.server_of.end()

    def _allowed(self, token: str = "", *_: str) -> bool:
        """Whether the request is for this machine, from our own page, with the token; says why not."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] or host
        origin = self.headers.get("Origin")
        if name not in (LOOPBACK, "localhost") or origin not in (None, f"http://{host}"):
            self._say(HTTPStatus.FORBIDDEN, "this page is for the machine that it runs on")
            return False
        if not hmac.compare_digest(token.encode(), self.server_of.token.encode()):
            self._say(HTTPStatus.FORBIDDEN, "the token is wrong; open the address that engage review printed last")
            return False
        return True

    def _say(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the address holds the token."""

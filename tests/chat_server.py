"""A server with enough of OpenAI's protocol to misbehave in every known way."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answer(body: dict[str, Any], text: str = "Hello there.") -> dict[str, Any]:
    """A well-formed chat completion: n choices, log-probabilities if requested."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if body.get("logprobs"):
        token: dict[str, Any] = {"token": "Hello", "logprob": -0.5, "bytes": None, "top_logprobs": []}
        if body.get("top_logprobs"):
            listed = [("3", -0.5), (" 3", -2.5), ("4", -1.5), ("the", -3.0)]
            token["top_logprobs"] = [{"token": t, "logprob": p, "bytes": None} for t, p in listed]
        choice["logprobs"] = {"content": [token], "refusal": None}
    usage = {"prompt_tokens": 20, "completion_tokens": 3 * body.get("n", 1), "total_tokens": 23}
    usage["prompt_tokens_details"] = {"cached_tokens": 16}
    choices = [{**choice, "index": index} for index in range(body.get("n", 1))]
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }


class ChatServer:
    """Serves on a free loopback port, or on `port`. `behave` is called per chat request with (handler, body, how many came before).

    It returns a dict to send, or None when it has answered (or cut the line) itself. What an engine asks at its start goes to
    `probes`, not to `bodies`, and is answered well. `takes` is called with every chat request, those at the start too: an error
    (status, content) where the server refuses it.
    """

    def __init__(self, models: tuple[str, ...] = ("m",), port: int = 0) -> None:
        self.models = models
        self.models_answer: bytes | None = None  # a page in place of the list of models
        self.models_status = 200
        self.owned_by = "x"  # vLLM, SGLang and llama.cpp name themselves here
        self.behave: Callable[[Any, dict[str, Any], int], dict[str, Any] | None] = lambda _, body, __: answer(body)
        self.takes: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda _: None
        self.shape: Callable[[dict[str, Any]], Any] = lambda content: content  # what every answer is made into
        self.bodies: list[dict[str, Any]] = []
        self.probes: list[dict[str, Any]] = []
        self.loaded: list[dict[str, Any]] = []
        self.load_answer: Any = "Success"  # to a request to load an adapter
        self.keys: set[str] = set()
        self.queries: set[str] = set()
        self.vocabulary: dict[str, list[int]] = {}
        self.busy = 0  # how many requests for tokens it does not answer yet
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def send_json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                models = [{"id": m, "object": "model", "created": 1, "owned_by": owner.owned_by} for m in owner.models]
                if owner.models_answer is not None:
                    self.send_json(owner.models_answer, owner.models_status, {"Content-Type": "text/html"})
                else:
                    self.send_json({"object": "list", "data": models}, owner.models_status)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.keys.add(self.headers["Authorization"])
                self.path, _, query = self.path.partition("?")
                owner.queries |= {query} if query else set()
                if self.path.endswith("/load_lora_adapter"):
                    owner.loaded.append(body)
                    self.send_json(owner.load_answer)
                    return
                if self.path == "/tokenize":  # vLLM's own
                    known = owner.vocabulary
                    if owner.busy:
                        owner.busy -= 1
                        self.send_json({"error": {"message": "busy"}}, 503)
                        return
                    found = {"tokens": known.get(body["prompt"], [0, 0])} if known else {"error": {"message": "no"}}
                    self.send_json(found, 200 if known else 404)
                    return
                probing = body["messages"][-1]["content"] == "Say hello."
                if probing:
                    owner.probes.append(body)
                if refusal := owner.takes(body):
                    owner.bodies += [] if probing else [body]
                    self.send_json(refusal[1], refusal[0])
                    return
                if probing:
                    self.send_json(owner.shape(answer(body)))
                    return
                with owner._lock:
                    before = len(owner.bodies)
                    owner.bodies.append(body)
                    owner._at_once += 1
                    owner.most_at_once = max(owner.most_at_once, owner._at_once)
                try:
                    content = owner.behave(self, body, before)
                finally:
                    with owner._lock:
                        owner._at_once -= 1
                if content is not None:
                    self.send_json(owner.shape(content))

        return Handler


def refuse(status: int, message: str = "no", **headers: str) -> Callable[[Any, dict[str, Any], int], None]:
    """A behaviour: an error in OpenAI's form."""

    def behave(handler: Any, _: dict[str, Any], __: int) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.send_json({"error": {"message": message, "type": "x", "code": None}}, status, names)

    return behave


def cut_line(handler: Any, _: dict[str, Any], __: int) -> None:
    """A behaviour: half an answer, then the connection ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "x", ')
    handler.wfile.flush()
    handler.close_connection = True


def trickle(handler: Any, body: dict[str, Any], _: int) -> None:
    """A behaviour: a byte now and then, for longer than any client waits."""
    data = json.dumps(answer(body)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    for byte in data:
        try:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)

"""GitHub's API on loopback: each request is checked against GitHub's own description, which gives the answers
too; what is written is kept."""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.report.render import contracts

REPOSITORY = "team/project"
TOKEN = "ghs_0123456789abcdef"
BOT = "github-actions[bot]"


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((contracts() / "openapi.json").read_text(encoding="utf-8"))
    return document


@lru_cache(maxsize=1)
def _registry() -> Any:
    resource = Resource.from_contents(description(), default_specification=DRAFT202012)
    return Registry().with_resource("urn:github", resource)


@lru_cache(maxsize=1)
def _routes() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    routes = []
    for path, methods in description()["paths"].items():
        pattern = re.sub(r"\\\{ref\\\}", "(.+)", re.escape(path))
        routes.append((re.compile(re.sub(r"\\\{\w+\\\}", "([^/]+)", pattern)), path, methods))
    # Literal parts win over variables.
    return sorted(routes, key=lambda route: route[1].count("{"))


def _resolved(value: Any) -> Any:
    while isinstance(value, dict) and "$ref" in value:
        found: Any = description()
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def example(path: str, method: str, status: str) -> Any:
    """The first example of an answer; of a list its first item."""
    answer = _resolved(description()["paths"][path][method]["responses"][status])
    examples = answer["content"]["application/json"]["examples"]
    value = _resolved(next(iter(examples.values())))["value"]
    return copy.deepcopy(value[0] if isinstance(value, list) else value)


@dataclass
class Fault:
    """An answer in the place of GitHub's own, `times` times."""

    method: str
    path: str
    status: int
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    applied: bool = False
    """Whether what was asked for is done all the same."""


class GitHub:
    """The state of a repository, and what was asked."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.comments: dict[int, dict[str, Any]] = {}
        self.deployments: dict[int, dict[str, Any]] = {}
        self.statuses: dict[int, list[dict[str, Any]]] = {}
        self.pulls: dict[int, str] = {1: "open"}
        self.heads: dict[int, tuple[str, str, str]] = {}
        """Of pull requests the repository, branch and commit, where a test says them."""
        self.merged: set[int] = set()
        self.branches: dict[str, str] = {"main": "a" * 40}
        self.user: str | None = None
        self.author = BOT
        self.problems: list[str] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.faults: list[Fault] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.url = ""
        self._number = 0

    def next(self) -> int:
        self._number += 1
        return self._number

    def comment(self, body: str, author: str = BOT, number: int = 1) -> dict[str, Any]:
        """Somebody writes a comment."""
        with self.lock:
            made = example("/repos/{owner}/{repo}/issues/{issue_number}/comments", "post", "201")
            identity = self.next()
            made.update(
                id=identity,
                body=body,
                url=f"{self.url}/repos/{REPOSITORY}/issues/comments/{identity}",
                html_url=f"https://github.com/{REPOSITORY}/pull/{number}#issuecomment-{identity}",
                updated_at=self._time(),
                created_at=self._time(),
                issue_url=f"{self.url}/repos/{REPOSITORY}/issues/{number}",
            )
            made["user"].update(login=author, type="Bot" if author.endswith("[bot]") else "User")
            self.comments[identity] = made
            return dict(made)

    def bodies(self, number: int = 1) -> list[str]:
        end = f"/issues/{number}"
        return [one["body"] for one in self.comments.values() if one["issue_url"].endswith(end)]

    def states(self, identity: int) -> list[str]:
        """The statuses of a deployment, oldest first."""
        return [one["state"] for one in self.statuses[identity]]

    def _time(self) -> str:
        return f"2026-11-23T10:{self._number // 60 % 60:02d}:{self._number % 60:02d}Z"

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any
    ) -> tuple[int, Any, dict[str, str]]:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    if fault.applied:
                        self._answer(method, path, query, body)
                    return fault.status, fault.body, fault.headers
            status, found = self._answer(method, path, query, body)
            return self._page(status, found, path, query)

    def _page(
        self, status: int, found: Any, path: str, query: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        if not isinstance(found, list):
            return status, found, {}
        size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
        assert size <= 100
        headers = {}
        if len(found) > size * page:
            more = "&".join(f"{name}={value}" for name, value in {**query, "page": str(page + 1)}.items())
            headers["Link"] = f'<{self.url}{path}?{more}>; rel="next"'
        return status, found[size * (page - 1) : size * page], headers

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if path == "/user":
            if self.user is None:
                return 403, {"message": "Resource not accessible by integration"}
            return 200, {**example("/user", "get", "200"), "login": self.user}
        prefix = f"/repos/{REPOSITORY}"
        if not path.startswith(prefix):
            return 404, {"message": "Not Found"}
        rest = path.removeprefix(prefix)
        if match := re.fullmatch(r"/git/ref/heads/(.+)", rest):
            if match[1] not in self.branches:
                return 404, {"message": "Not Found"}
            found = example("/repos/{owner}/{repo}/git/ref/{ref}", "get", "200")
            found["object"]["sha"] = self.branches[match[1]]
            return 200, found
        if rest == "/pulls":
            assert query["state"] == "open"
            found = [
                number
                for number, (repository, branch, _) in self.heads.items()
                if query["head"] == f"{repository.partition('/')[0]}:{branch}"
            ]
            return 200, [
                self._pull("/repos/{owner}/{repo}/pulls", number)
                for number in found
                if self.pulls[number] == "open"
            ]
        if match := re.fullmatch(r"/(issues|pulls)/(\d+)(/comments)?", rest):
            return self._issue(match, method, body)
        if match := re.fullmatch(r"/issues/comments/(\d+)", rest):
            return self._comment(int(match[1]), method, body)
        if match := re.fullmatch(r"/deployments(?:/(\d+)/statuses)?", rest):
            return self._deployment(int(match[1] or 0), method, query, body)
        return 404, {"message": "Not Found"}

    def _issue(self, match: re.Match[str], method: str, body: Any) -> tuple[int, Any]:
        number = int(match[2])
        if number not in self.pulls:
            return 404, {"message": "Not Found"}
        if match[3]:
            if method == "POST":
                if len(body["body"]) > 65_536:
                    return 422, {"message": "Validation Failed", "errors": [{"message": "body is too long"}]}
                return 201, self.comment(body["body"], self.author, number)
            end = f"/issues/{number}"
            return 200, [one for one in self.comments.values() if one["issue_url"].endswith(end)]
        if match[1] == "pulls":
            pull = self._pull("/repos/{owner}/{repo}/pulls/{pull_number}", number)
            return 200, {**pull, "merged": number in self.merged}
        found = example("/repos/{owner}/{repo}/issues/{issue_number}", "get", "200")
        found.update(
            number=number,
            state=self.pulls[number],
            url=f"{self.url}/repos/{REPOSITORY}/issues/{number}",
            comments_url=f"{self.url}/repos/{REPOSITORY}/issues/{number}/comments",
        )
        return 200, found

    def _pull(self, path: str, number: int) -> dict[str, Any]:
        found: dict[str, Any] = example(path, "get", "200")
        found.update(
            number=number, state=self.pulls[number], url=f"{self.url}/repos/{REPOSITORY}/pulls/{number}"
        )
        if number in self.heads:
            repository, branch, commit = self.heads[number]
            found["head"].update(ref=branch, sha=commit)
            found["head"]["repo"]["full_name"] = repository
        return found

    def _comment(self, identity: int, method: str, body: Any) -> tuple[int, Any]:
        if identity not in self.comments:
            return 404, {"message": "Not Found"}
        if method == "DELETE":
            del self.comments[identity]
            return 204, None
        if method == "PATCH":
            if len(body["body"]) > 65_536:
                return 422, {"message": "Validation Failed"}
            self.next()
            self.comments[identity].update(body=body["body"], updated_at=self._time())
        return 200, self.comments[identity]

    def _deployment(self, identity: int, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        path = "/repos/{owner}/{repo}/deployments"
        if identity:
            if identity not in self.deployments:
                return 404, {"message": "Not Found"}
            if method == "GET":
                return 200, self.statuses[identity][::-1]
            made = {**example(f"{path}/{{deployment_id}}/statuses", "post", "201"), **body, "id": self.next()}
            self.statuses[identity].append(made)
            return 201, made
        if method == "GET":
            wanted = {name: value for name, value in query.items() if name in ("environment", "task", "sha")}
            found = [
                one
                for one in self.deployments.values()
                if all(one[name] == value for name, value in wanted.items())
            ]
            return 200, found[::-1]
        number = self.next()
        made = {
            **example(path, "post", "201"),
            **body,
            "id": number,
            "sha": body["ref"],
            "url": f"{self.url}/repos/{REPOSITORY}/deployments/{number}",
        }
        self.deployments[number], self.statuses[number] = made, []
        return 201, made

    def check(self, method: str, path: str, query: dict[str, str], headers: Any, body: Any) -> None:
        """Hold a request to the description; what is wrong is kept in `problems`."""
        if headers.get("Authorization") not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            self.problems.append(f"{method} {path}: no token")
        for pattern, known, methods in _routes():
            if pattern.fullmatch(path) and method.lower() in methods:
                template = known
                operation = methods[method.lower()]
                break
        else:
            self.problems.append(f"{method} {path}: GitHub has no such thing")
            return
        declared = {
            one["name"]: one
            for one in map(_resolved, [*methods.get("parameters", ()), *operation.get("parameters", ())])
            if one["in"] == "query"
        }
        for name in query:
            if name not in declared:
                self.problems.append(f"{method} {template}: no parameter {name}")
        if body is not None:
            content = _resolved(operation.get("requestBody", {})).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if schema is None:
                self.problems.append(f"{method} {template}: takes no body")
                return
            found = _validator(json.dumps(schema))
            self.problems += [f"{method} {template}: {error.message}" for error in found.iter_errors(body)]
            unknown = set(body) - set(schema.get("properties", body))
            if unknown:
                self.problems.append(f"{method} {template}: unknown {unknown}")


@lru_cache(maxsize=50)
def _validator(schema: str) -> Draft202012Validator:
    whole = json.loads(schema.replace('"#/', '"urn:github#/'))
    return Draft202012Validator(whole, registry=_registry())


@contextmanager
def running(host: str = "127.0.0.1") -> Iterator[GitHub]:
    """A server; its `url` is what GITHUB_API_URL says."""
    github = GitHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = parts.path.removeprefix("/api/v3")
            github.before(self.command, path)
            with github.lock:
                github.requests.append((self.command, path, body))
                github.check(self.command, path, query, self.headers, body)
            status, found, headers = github.answer(self.command, path, query, body)
            data = b"" if found is None else found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    github.url = f"http://{host}:{server.server_port}/api/v3"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()

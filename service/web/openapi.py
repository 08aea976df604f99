"""OpenAPI 3.1: each route says beside its code what it answers.

The document is made of the app's own routes, so a route that is not described cannot start. What
goes over a WebSocket is not HTTP; asyncapi.py describes it.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from quart import Response
from quart_trio import QuartTrio

from service import __version__

View = TypeVar("View", bound=Callable[..., Any])
Schema = Mapping[str, Any]


class Answer(NamedTuple):
    """What an answer means, and of which media types its body is; `schema` is for JSON."""

    description: str
    schema: Schema | None = None
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI Response Object."""
        found: dict[str, Any] = {"description": self.description}
        if self.headers:
            found["headers"] = {name: {"schema": {"type": "string"}} for name in self.headers}
        if self.media_types:
            content = {} if self.schema is None else {"schema": self.schema}
            found["content"] = dict.fromkeys(self.media_types, content)
        return found


def record(**properties: Schema) -> Schema:
    """Return the schema of a JSON object with these members, all of which are there."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def one_of(*values: str) -> Schema:
    """Return the schema of one of these texts."""
    return {"type": "string", "enum": list(values)}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def failed(description: str, *names: str, headers: tuple[str, ...] = ()) -> Answer:
    """Return the answer for an error of one of these names."""
    schema = {
        "type": "object",
        "properties": {
            "error": one_of(*names),
            "message": TEXT,
            # Of a wrong parameter:
            "parameter": TEXT,
            "value": TEXT,
            "allowed": TEXT,
        },
        "required": ["error", "message"],
        "additionalProperties": False,
    }
    return Answer(description, schema, headers=headers)


def described(
    summary: str,
    answers: Mapping[int, Answer],
    *,
    query: Mapping[str, Schema] | None = None,
    body: Schema | None = None,
) -> Callable[[View], View]:
    """Say what a view does and answers, by status; `query` and `body` are what it takes."""

    def describe(view: View) -> View:
        view.operation = {  # type: ignore[attr-defined]
            "summary": summary,
            "parameters": [
                {"name": name, "in": "query", "schema": schema}
                for name, schema in (query or {}).items()
            ],
            "responses": {str(status): answer.document() for status, answer in answers.items()},
        }
        if body is not None:
            content = {"application/json": {"schema": body}}
            view.operation["requestBody"] = {  # type: ignore[attr-defined]
                "content": content,
                "required": True,
            }
        return view

    return describe


def publish(
    app: QuartTrio, title: str, description: str, always: Mapping[int, Answer] | None = None
) -> None:
    """Have the app serve the description of all its routes, itself included.

    `always` are answers that every route may give. Raises AttributeError for a route that is not
    described.
    """

    @described("This description", {200: Answer("an OpenAPI document", {"type": "object"})})
    async def openapi() -> Response:
        return Response(page, content_type="application/json")

    app.get("/openapi.json")(openapi)
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": TEXT}
            for name in sorted(rule.arguments)
        ]
        view: Any = app.view_functions[rule.endpoint]
        operation: dict[str, Any] = view.operation
        operation = {**operation, "parameters": parameters + operation["parameters"]}
        operation["responses"] = operation["responses"] | {
            str(status): answer.document() for status, answer in (always or {}).items()
        }
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        # HTTP itself says what HEAD and OPTIONS are.
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            paths.setdefault(path, {})[method.lower()] = operation
    page = json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "description": description, "version": __version__},
            "servers": [{"url": "/"}],
            "paths": dict(sorted(paths.items())),
        }
    )

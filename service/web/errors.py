"""Every error is answered in JSON: a short name for programs, a sentence for people."""

from quart import Response, jsonify
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, NotFound


def error(status: int, name: str, message: str, **details: str) -> Response:
    """Return the answer for an error."""
    response = jsonify(error=name, message=message, **details)
    response.status_code = status
    return response


def bad_parameter(message: str, parameter: str, value: str, allowed: str) -> Response:
    """Return the answer for a parameter with a wrong value."""
    return error(400, "bad_parameter", message, parameter=parameter, value=value, allowed=allowed)


def answer_in_json(app: QuartTrio) -> None:
    """Have the app answer in JSON what Quart and Werkzeug refuse."""
    app.register_error_handler(HTTPException, _http_error)


async def _http_error(refused: HTTPException) -> Response:
    name = refused.name.lower().replace(" ", "_")
    message = refused.description or refused.name
    if isinstance(refused, NotFound):
        message = "there is nothing at this path; audio is at /ws/audio"
    response = error(refused.code or 500, name, message)
    for key, value in refused.get_headers():
        if key == "Allow":
            response.headers[key] = value
    return response

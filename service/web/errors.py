"""Every error is answered in JSON: a short name for programs, a sentence for people."""

from quart import Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound

from service.web.upgrade import App


def error(status: int, name: str, message: str, **details: str) -> Response:
    """Return the answer for an error."""
    response = jsonify(error=name, message=message, **details)
    response.status_code = status
    return response


def bad_parameter(message: str, parameter: str, value: str, allowed: str) -> Response:
    """Return the answer for a parameter with a wrong value."""
    return error(400, "bad_parameter", message, parameter=parameter, value=value, allowed=allowed)


def answer_in_json(app: App) -> None:
    """Have the app answer in JSON what Quart and Werkzeug refuse."""

    @app.errorhandler(HTTPException)
    async def http_error(refused: HTTPException) -> Response:
        name = refused.name.lower().replace(" ", "_")
        message = refused.description or refused.name
        if isinstance(refused, NotFound):
            message = app.elsewhere(request.path, "there is nothing at this path")
        response = error(refused.code or 500, name, message)
        for key, value in refused.get_headers():
            if key == "Allow":
                response.headers[key] = value
        return response

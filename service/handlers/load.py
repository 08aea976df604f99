"""The user's handler, found by the name `module:function` from the working directory."""

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from service.calls.handled import HandledCall
from service.config import ConfigurationError
from service.handlers import blocking
from service.handlers.call import Call, HungUp

Answer = Callable[[HandledCall], Awaitable[None]]
Handler = Callable[[Call], Awaitable[None]]


def load(name: str) -> Answer:
    """Return what answers calls by the handler of that name.

    Raises ConfigurationError, one line, for a wrong module, name or signature.
    """
    handler = _found(name)

    async def answer(call: HandledCall) -> None:
        blocking.handler.set(name)
        seen = Call(call)
        try:
            await handler(seen)
            await seen.finish()
        except* HungUp:  # alone, or out of the handler's own nurseries
            pass

    return answer


def _found(name: str) -> Handler:
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            hint = "; without .py?" if module_name.endswith(".py") else ""
            raise _wrong(name, f"there is no module {error.name} in {Path.cwd()}{hint}") from None
        raise _wrong(name, f"importing {module_name} failed: {error}") from None
    except SyntaxError as error:
        why = f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
        raise _wrong(name, f"importing {module_name} failed: {why}") from None
    except (Exception, SystemExit) as error:
        # The last line of all may be deep in a library, so the last of an import is told.
        trace = traceback.extract_tb(error.__traceback__)
        frame = ([each for each in trace if each.name == "<module>"] or trace)[-1]
        where = f"{frame.filename}, line {frame.lineno}"
        why = f"{type(error).__name__}: {error} ({where})"
        raise _wrong(name, f"importing {module_name} failed: {why}") from None
    handler = getattr(module, attribute, None)
    if handler is None:
        near = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f"; {near[0]}?" if near else ""
        raise _wrong(name, f"{module_name} has no {attribute}{hint}")
    if not inspect.iscoroutinefunction(handler):
        raise _wrong(name, f"{attribute} is not an async function")
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        raise _wrong(name, f"{attribute} must take one argument, the call") from None
    found: Handler = handler
    return found


def _wrong(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"RT_AUDIO_HANDLER={name}: {' '.join(why.split())}")

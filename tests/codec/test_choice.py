"""Which tier a request gets: what is asked for if it is here, else the best, and never silently."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import service.codec
from service.codec import LAWS, ORDER, CodecFallbackWarning, choose, resolve

Reload = Callable[..., ModuleType]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Reload:
    """Return a function that loads service.codec as an interpreter lacking some modules would."""

    def load(*missing: str) -> ModuleType:
        for name in missing:
            monkeypatch.setitem(sys.modules, name, None)
        for name in [name for name in sys.modules if name.startswith("service.codec")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(service, "codec", service.codec)  # what the import puts there, too
        return importlib.import_module("service.codec")

    return load


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ORDER)
def test_a_tier_that_is_here_is_chosen_by_its_name(name: str, law: str) -> None:
    codec = choose(name, law)
    assert (codec.name, codec.law) == (name, law)


def test_no_request_gets_the_best_tier_and_mulaw() -> None:
    codec = choose()
    assert (codec.name, codec.law) == ("audioop", "ulaw")


@pytest.mark.parametrize("order", [("numpy", "audioop"), ("opus", "numpy"), ["numpy"]])
def test_the_first_tier_of_the_order_that_is_here_is_the_best(order: list[str]) -> None:
    assert choose(order=order).name == "numpy"


def test_a_name_outside_the_order_is_still_to_be_had() -> None:
    assert choose("audioop", order=["numpy"]).name == "audioop"


@pytest.mark.parametrize("unknown", ["opus", "", "NumPy"])
def test_an_unknown_name_gets_the_best_with_a_warning_that_says_so(unknown: str) -> None:
    with pytest.warns(CodecFallbackWarning, match=f"'{unknown}' .* using 'numpy'") as caught:
        codec = choose(unknown, "alaw", ["numpy", "audioop"])
    assert (codec.name, codec.law) == ("numpy", "alaw")
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("requested", "name"), [(None, "audioop"), ("opus", "audioop"), ("numpy",) * 2]
)
def test_a_session_resolves_a_name_without_a_warning(requested: str | None, name: str) -> None:
    assert resolve(requested) == name


@pytest.mark.parametrize("find", [choose, resolve])
def test_an_order_without_any_tier_is_a_lookup_error(find: Callable[..., object]) -> None:
    with pytest.raises(LookupError, match="opus, speex"):
        find(order=["opus", "speex"])


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        (["audioop"], ("numpy", "pure_python")),
        (["numpy"], ("audioop", "pure_python")),
        (["audioop", "numpy"], ("pure_python",)),
    ],
)
def test_an_interpreter_that_lacks_a_tier_offers_the_others(
    without: Reload, missing: list[str], left: tuple[str, ...]
) -> None:
    codec = without(*missing)
    assert codec.available() == left
    assert codec.choose().name == left[0]
    with pytest.warns(codec.CodecFallbackWarning, match=f"'{missing[0]}' .* using '{left[0]}'"):
        assert codec.choose(missing[0]).name == left[0]


def test_a_big_endian_machine_does_without_audioop(
    without: Reload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    assert without().available() == ("numpy", "pure_python")

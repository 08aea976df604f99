"""What waits to be heard, without a clock: time is an argument."""

from collections.abc import Iterable
from itertools import pairwise, zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.playout import FRAME_SECONDS, Playout

#: PCM16 at 8 kHz.
RATE, FRAME = 16000, bytes(320)
NOW = 5000.0


def close(seconds: float) -> object:
    """Return what equals so many seconds up to a sample or two: times are sums of floats."""
    return pytest.approx(seconds, abs=2 / 8000)


def playout(lead: float = 0.04) -> Playout:
    return Playout(RATE, 2, lead)


def audio(items: Iterable[bytes | str]) -> list[bytes]:
    return [item for item in items if isinstance(item, bytes)]


def run(played: Playout, start: float, until: float) -> list[tuple[float, bytes | str]]:
    """Ask every 20 ms for what is due; return it with the time."""
    ticks = round((until - start) / FRAME_SECONDS)
    times = [start + number * FRAME_SECONDS for number in range(ticks)]
    return [(now, item) for now in times for item in played.due(now)]


@pytest.mark.parametrize(("rate", "sample_bytes", "size"), [
    (16000, 2, 320), (8000, 1, 160), (96000, 2, 1920), (22050, 2, 440), (1, 1, 1), (2, 2, 2),
])  # fmt: skip
def test_frames_have_20_ms_in_whole_samples_and_at_least_one(
    rate: int, sample_bytes: int, size: int
) -> None:
    played = Playout(rate, sample_bytes, 0)
    played.play(bytes(size * 3), NOW)
    assert audio(played.due(NOW)) == [bytes(size)]


@pytest.mark.parametrize("lead", [0, 0.02, 0.04, 0.5, 1])
def test_each_frame_is_sent_once_by_its_time_and_the_lead_ahead(lead: float) -> None:
    played = playout(lead)
    played.play(FRAME * 200, NOW)
    for number, (at, frame) in enumerate(run(played, NOW, NOW + 4)):
        assert frame == FRAME
        heard_at = NOW + number * FRAME_SECONDS
        assert heard_at - lead - FRAME_SECONDS <= at <= max(NOW, heard_at - lead) + 0.001
    assert number == 199


@given(late=st.lists(st.floats(0, 0.019), min_size=50, max_size=50))
def test_a_clock_that_is_a_little_late_sends_one_frame_a_time(late: list[float]) -> None:
    played = playout()
    played.play(FRAME * 100, NOW)
    played.due(NOW)
    for number, seconds in enumerate(late, 1):
        due = played.next_due(NOW)
        assert due == close(NOW + number * FRAME_SECONDS)  # never later by what was late before
        assert len(played.due(NOW + number * FRAME_SECONDS + seconds)) == 1


def test_what_waits_is_due_next_when_all_before_it_is_the_lead_ahead() -> None:
    played = playout(lead=0.1)
    assert played.next_due(NOW) is None
    played.play(FRAME * 7, NOW)
    assert played.next_due(NOW) == NOW
    assert len(played.due(NOW)) == 6
    due = played.next_due(NOW)
    assert due == close(NOW + 0.02)
    assert played.due(NOW + 0.0195) == []
    assert len(played.due(NOW + 0.02)) == 1
    assert played.next_due(NOW + 0.02) is None


def test_audio_that_comes_in_little_pieces_goes_out_whole_and_in_order() -> None:
    played, whole = playout(), bytes(range(256)) * 20
    for start in range(0, len(whole), 7):
        played.play(whole[start : start + 7], NOW)
    assert b"".join(audio(item for _, item in run(played, NOW, NOW + 1))) == whole


def test_after_a_stall_0_2_seconds_are_made_up_for_and_the_rest_is_later() -> None:
    played = playout(0.04)
    played.play(FRAME * 400, NOW)
    before = len(played.due(NOW))
    burst = len(played.due(NOW + 2))
    assert burst == 13  # up to the lead and half a frame; not the 100 frames of two seconds
    after = run(played, NOW + 2.02, NOW + 3.02)
    assert len(after) == 50
    sent = (before + burst + 50) * FRAME_SECONDS
    assert sent - 0.06 <= played.position(NOW + 3.01) <= sent - 0.03


def test_a_shorter_stall_changes_no_later_frame() -> None:
    played = playout(0.04)
    played.play(FRAME * 100, NOW)
    sent = len(played.due(NOW)) + len(played.due(NOW + 0.2))
    assert sent * FRAME_SECONDS == close(0.2 + 0.06)


def test_the_position_is_what_was_sent_but_no_more_than_the_time() -> None:
    played = playout()
    assert played.position(NOW) == 0
    played.play(FRAME * 10, NOW)
    assert played.position(NOW + 1) == 0  # nothing is sent yet
    played.due(NOW + 1)
    assert played.position(NOW + 1.03) == close(0.03)
    assert played.position(NOW + 9) == close(0.06)  # so much was sent
    assert played.waiting == close(0.14)


def test_silence_between_two_sentences_is_not_heard_audio() -> None:
    played = playout()
    played.play(FRAME, NOW)
    run(played, NOW, NOW + 10)
    assert played.silent(NOW + 10)
    played.play(FRAME, NOW + 10)
    played.due(NOW + 10)
    assert played.position(NOW + 10.005) == close(0.025)


# Underruns


def sentence(played: Playout, now: float) -> float:
    """Play 0.1 s to its end; return when that is."""
    played.play(FRAME * 5, now)
    run(played, now, now + 0.12)
    played.due(now + 0.11)
    assert played.silent(now + 0.12)
    return now + 0.1


@pytest.mark.parametrize(("pause", "count"), [
    (0.015, 0), (0.025, 1), (0.49, 1), (0.51, 0), (5, 0),
])  # fmt: skip
def test_a_pause_in_the_audio_is_an_underrun_if_it_is_longer_than_jitter_and_shorter_than_a_rest(
    pause: float, count: int
) -> None:
    played = playout()
    end = sentence(played, NOW)
    played.play(FRAME, end + pause)
    assert played.underruns == count
    played.play(FRAME, end + pause + 0.001)  # the same pause
    assert played.underruns == count


def test_the_begin_of_a_call_is_no_underrun() -> None:
    played = playout()
    played.play(FRAME, 0.1)
    assert played.underruns == 0


@pytest.mark.parametrize("when", ["before the end", "after the end"])
def test_a_mark_says_that_the_silence_behind_it_is_meant(when: str) -> None:
    played = playout()
    played.play(FRAME * 5, NOW)
    if when == "before the end":
        played.mark("end")
    run(played, NOW, NOW + 0.2)
    if when == "after the end":
        played.mark("end")
    played.play(FRAME, NOW + 0.3)
    assert played.underruns == 0


@pytest.mark.parametrize("recalled", [True, False])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.15])
def test_a_clear_says_that_the_silence_behind_it_is_meant(recalled: bool, after: float) -> None:
    played = playout()
    played.play(FRAME * 5, NOW)
    if after:
        run(played, NOW, NOW + after)
    played.clear(NOW + after, recalled=recalled)
    run(played, NOW + after, NOW + after + 0.1)
    played.play(FRAME, NOW + after + 0.2)
    assert played.underruns == 0


def test_an_old_underrun_is_not_counted_again_behind_a_mark() -> None:
    played = playout()
    end = sentence(played, NOW)
    played.play(FRAME * 5, end + 0.1)
    assert played.underruns == 1
    played.mark("end")
    run(played, end + 0.1, end + 0.3)
    played.play(FRAME, end + 0.3)
    assert played.underruns == 1


# Marks


def test_a_mark_goes_out_right_behind_its_audio_and_is_heard_when_that_is() -> None:
    played = playout()
    played.play(FRAME * 2, NOW)
    played.mark("two")
    played.play(FRAME * 8, NOW)
    played.mark("ten")
    assert played.due(NOW) == [FRAME, FRAME, "two", FRAME]
    assert played.reached(NOW + 0.035) == []
    assert played.reached(NOW + 0.045) == ["two"]
    assert played.reached(NOW + 0.05) == []
    assert [item for _, item in run(played, NOW + 0.06, NOW + 0.18)][-1] == "ten"
    assert played.reached(NOW + 0.19) == []
    assert played.reached(NOW + 0.21) == ["ten"]


def test_a_mark_behind_audio_that_was_sent_does_not_wait_for_more_audio() -> None:
    played = playout()
    played.play(FRAME, NOW)
    played.due(NOW)
    played.mark("one")
    played.play(FRAME, NOW)
    assert played.due(NOW + 0.001) == ["one", FRAME]


def test_a_mark_within_a_frame_goes_out_behind_the_frame() -> None:
    played = playout()
    played.play(FRAME[:100], NOW)
    played.mark("inside")
    played.play(FRAME, NOW)
    assert played.due(NOW) == [FRAME, "inside", FRAME[:100]]


def test_a_mark_in_silence_is_heard_at_once() -> None:
    played = playout()
    played.mark("now")
    assert not played.silent(NOW)
    assert played.due(NOW) == ["now"]
    assert played.reached(NOW) == ["now"]
    assert played.silent(NOW)


@pytest.mark.parametrize("recalled", [True, False])
def test_a_clear_forgets_the_marks_that_were_not_heard(recalled: bool) -> None:
    played = playout()
    played.play(FRAME * 3, NOW)
    played.mark("sent")
    played.play(FRAME * 3, NOW)
    played.mark("waits")
    assert "sent" in played.due(NOW)
    played.clear(NOW + 0.01, recalled=recalled)
    assert run(played, NOW + 0.02, NOW + 1) == []
    assert played.reached(NOW + 1) == []


# Clear


def test_a_recalled_clear_returns_what_was_heard_of_the_sentence() -> None:
    played = playout()
    end = sentence(played, NOW)
    assert played.clear(end + 0.02, recalled=True) == 0  # nothing was cut
    played.play(FRAME * 50, end + 1)
    run(played, end + 1, end + 1.5)
    assert played.clear(end + 1.5, recalled=True) == close(0.5)
    assert played.silent(end + 1.5)
    assert played.waiting == 0
    assert played.position(end + 9) == close(0.6)


def test_a_caller_that_cannot_be_told_hears_all_that_was_sent() -> None:
    played = playout(lead=0.1)
    played.play(FRAME * 50, NOW)
    played.due(NOW)
    assert played.clear(NOW + 0.05, recalled=False) == close(0.12)
    assert not played.silent(NOW + 0.05)
    assert played.position(NOW + 0.06) == close(0.06)
    assert played.due(NOW + 0.2) == []
    assert played.silent(NOW + 0.2)
    assert played.position(NOW + 1) == close(0.12)


def cleared() -> Playout:
    """Return a playout of which a second was sent, and half of it heard before the clear."""
    played = playout(lead=1)
    played.play(FRAME * 50, NOW)
    played.due(NOW)
    assert played.clear(NOW + 0.5, recalled=True) == close(0.5)
    assert played.position(NOW + 1) == close(0.5)
    return played


@pytest.mark.parametrize(("said", "believed"), [
    (0.4, 0.4), (0.7, 0.7), (0, 0), (1, 1), (7, 1), (1e9, 1),
])  # fmt: skip
def test_the_callers_word_is_taken_for_what_it_heard_but_not_for_more_than_was_sent(
    said: float, believed: float
) -> None:
    played = cleared()
    played.recalled(said)
    assert played.position(NOW + 1) == close(believed)
    played.recalled(0.1)  # no clear asked for this
    assert played.position(NOW + 1) == close(believed)


def test_an_answer_that_comes_while_the_next_sentence_plays_counts_too() -> None:
    played = cleared()
    played.play(FRAME * 5, NOW + 0.6)
    played.mark("end")
    played.due(NOW + 0.6)
    assert played.position(NOW + 0.65) == close(0.55)
    played.recalled(0.4)
    assert played.position(NOW + 0.65) == close(0.45)
    played.due(NOW + 0.8)
    assert played.reached(NOW + 0.8) == ["end"]
    assert played.position(NOW + 0.8) == close(0.5)


def test_of_two_answers_the_one_to_the_last_clear_counts() -> None:
    played = cleared()
    played.play(FRAME * 10, NOW + 0.6)
    played.due(NOW + 0.6)
    assert played.clear(NOW + 0.7, recalled=True) == close(0.1)
    played.recalled(0.45)
    assert played.position(NOW + 1) == close(0.6)
    played.recalled(0.52)
    assert played.position(NOW + 1) == close(0.52)


def test_a_clear_by_the_end_of_a_sentence_may_come_too_early_for_a_caller_that_is_late() -> None:
    played = playout()
    sentence(played, NOW)
    played.clear(NOW + 0.11, recalled=True)
    played.recalled(0.08)
    assert played.position(NOW + 1) == close(0.08)


# The caller's word


def test_a_mark_that_the_caller_does_not_confirm_counts_as_heard_after_the_patience() -> None:
    played = Playout(RATE, 2, 0.04, patience=5)
    played.play(FRAME * 5, NOW)
    played.mark("end")
    run(played, NOW, NOW + 0.2)
    assert played.silent(NOW + 0.2)
    assert played.reached(NOW + 5.0) == []
    assert played.pending
    assert played.reached(NOW + 5.11) == ["end"]
    assert not played.told("end", NOW + 6)


@pytest.mark.parametrize(("late", "lag"), [(0.0, 0.0), (0.3, 0.3), (-0.15, -0.15), (60, 5.0)])
def test_the_callers_mark_moves_the_clock_by_which_it_hears(late: float, lag: float) -> None:
    played = Playout(RATE, 2, 1, patience=5)
    played.play(FRAME * 10, NOW)
    played.mark("first")
    played.play(FRAME * 400, NOW)
    run(played, NOW, NOW + 0.2)
    assert played.told("first", NOW + 0.2 + late)
    assert played.position(NOW + 0.2 + lag) == close(0.2)
    assert played.position(NOW + 0.5 + lag) == close(0.5)


def test_the_position_does_not_pass_a_mark_that_the_caller_has_not_heard() -> None:
    played = Playout(RATE, 2, 1, patience=5)
    played.play(FRAME * 10, NOW)
    played.mark("first")
    played.play(FRAME * 20, NOW)
    run(played, NOW, NOW + 0.4)
    assert played.position(NOW + 0.4) == close(0.2)
    assert played.clear(NOW + 0.4, recalled=True) == close(0.2)
    assert not played.told("first", NOW + 0.5)  # it comes back with the clear
    assert played.position(NOW + 9) == close(0.2)


def test_places_are_marked_early_and_then_each_second() -> None:
    played = Playout(RATE, 2, 0.1, places=True, patience=5)
    played.play(FRAME * 150, NOW)
    items = [item for _, item in run(played, NOW, NOW + 3)]
    places = [number for number, item in enumerate(items) if isinstance(item, str)]
    assert places == [10, 61, 112]  # 0.2, 1.2 and 2.2 seconds, each with the marks before it
    names = [str(items[place]) for place in places]
    assert all(played.told(name, NOW + 3) for name in names)
    assert len(set(names)) == 3


# Whole frames


def whole() -> Playout:
    return Playout(RATE, 2, 0.1, silence=b"\0")


def test_a_part_of_a_frame_waits_for_the_rest_but_not_for_long() -> None:
    played = whole()
    played.play(b"a" * 500, NOW)
    assert played.due(NOW) == [b"a" * 320]
    played.play(b"b" * 100, NOW + 0.01)
    assert played.due(NOW + 0.02) == []
    assert played.next_due(NOW + 0.02) == close(NOW + 0.03)
    assert played.due(NOW + 0.03) == [b"a" * 180 + b"b" * 100 + bytes(40)]
    assert played.waiting == 0
    assert played.position(NOW + 1) == close(600 / RATE)  # nobody played the silence


def test_a_part_of_a_frame_that_a_mark_ends_waits_for_nothing() -> None:
    played = whole()
    played.play(b"a" * 100, NOW)
    played.mark("end")
    assert played.due(NOW) == [b"a" * 100 + bytes(220), "end"]


@given(sizes=st.lists(st.integers(1, 400), max_size=40), gaps=st.lists(st.floats(0, 0.1)))
def test_each_frame_is_whole_and_nothing_is_lost(sizes: list[int], gaps: list[float]) -> None:
    played, now, sent = whole(), NOW, b""
    for size, gap in zip_longest(sizes, gaps, fillvalue=0):
        played.play(b"x" * 2 * int(size), now)
        sent += b"".join(audio(played.due(now)))
        now += gap
    sent += b"".join(audio(item for _, item in run(played, now + 0.02, now + 4)))
    assert len(sent) % len(FRAME) == 0
    assert sent.replace(b"\0", b"") == b"x" * 2 * sum(sizes)


# A short cut

#: What happens before each frame that a handler plays in real time, and when the frame comes.
EVENTS = st.tuples(
    st.sampled_from(["", "", "", "", "mark", "clear", "more", "told"]),
    st.sampled_from([0.0, 0.001, 0.0199, 0.02, 0.02, 0.021, 0.05, 0.4]),
    st.sampled_from([320, 320, 320, 160, 640]),
)


@given(events=st.lists(EVENTS, min_size=20, max_size=60), lead=st.sampled_from([0, 0.04, 0.2]))
@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("silence", [b"", b"\0\0"])
def test_a_frame_that_is_passed_on_leaves_all_as_if_it_was_played_and_due(
    events: list[tuple[str, float, int]], lead: float, places: bool, silence: bytes
) -> None:
    quick, plain = (Playout(RATE, 2, lead, places=places, silence=silence) for _ in range(2))
    now, marks = NOW, [""]
    for number, (event, gap, size) in enumerate(events):
        now += gap
        items: list[list[bytes | str]] = []
        for played in (quick, plain):
            match event:
                case "mark":
                    played.mark(f"{number}")
                case "clear":
                    played.clear(now, recalled=True)
                case "more":
                    played.play(bytes(2000), now)
                case "told":
                    played.told(marks[-1], now)
            if played is quick and played.pass_on(size, now):
                items.append([bytes(size)])
            else:
                played.play(bytes(size), now)
                items.append(played.due(now))
        assert items[0] == items[1]
        marks += [item for item in items[0] if isinstance(item, str)]
        assert quick.position(now) == plain.position(now)
        assert quick.next_due(now) == plain.next_due(now)
        assert quick.reached(now) == plain.reached(now)
        assert (quick.pending, quick.underruns) == (plain.pending, plain.underruns)


def test_a_frame_in_real_time_is_passed_on_once_one_was_late() -> None:
    played = playout()
    assert not played.pass_on(320, NOW)
    played.play(FRAME, NOW)
    played.due(NOW)
    assert [played.pass_on(320, NOW + 0.02 * number - 0.001) for number in range(1, 100)] == [
        True
    ] * 99


# Whatever happens

STEPS = st.one_of(
    st.tuples(st.just("play"), st.integers(0, 3000)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.02, 0.02, 0.3, 1.5])),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("clear"), st.booleans()),
    st.tuples(st.just("answer"), st.floats(0, 5)),
    st.tuples(st.just("due"), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=40), lead=st.sampled_from([0, 0.04, 1]))
def test_the_position_never_goes_back_nor_beyond_what_was_played(
    steps: list[tuple[str, float]], lead: float
) -> None:
    played, now = playout(lead), NOW
    played_bytes = 0
    waiting = b""
    before = 0.0
    for step, value in steps:
        match step:
            case "play":
                piece = bytes(at % 251 for at in range(played_bytes, played_bytes + int(value) * 2))
                played_bytes += len(piece)
                waiting += piece
                played.play(piece, now)
            case "wait":
                now += value
            case "mark":
                played.mark("")
            case "clear":
                assert 0 <= played.clear(now, recalled=bool(value)) <= played_bytes / RATE
                waiting, before = b"", 0.0
            case "answer":
                played.recalled(value)
                before = 0.0
            case "due":
                for frame in audio(played.due(now)):
                    assert 0 < len(frame) <= len(FRAME)
                    assert waiting.startswith(frame)
                    waiting = waiting.removeprefix(frame)
        position = played.position(now)
        assert before <= position <= played_bytes / RATE
        before = position
        assert played.waiting == len(waiting) / RATE
    now += 60
    run(played, now, now + 4)
    assert played.silent(now + 4)
    assert played.waiting == 0


@given(
    places=st.lists(st.integers(0, 99), min_size=1, max_size=8),
    gaps=st.lists(st.floats(0, 0.3), min_size=100, max_size=100),
)
def test_marks_are_heard_in_order_and_never_before_their_audio(
    places: list[int], gaps: list[float]
) -> None:
    played, now, heard = playout(), NOW, list[str]()
    for number in range(100):
        for place in sorted(places):
            if place == number:
                played.mark(f"{number}")
        played.play(FRAME, NOW)
    for gap in gaps:
        played.due(now)
        for name in played.reached(now):
            assert played.position(now) >= int(name) * FRAME_SECONDS - 1e-9
            heard.append(name)
        now += gap
    for name, following in pairwise(heard):
        assert int(name) <= int(following)
    run(played, now, now + 4)
    heard += played.reached(now + 9)
    assert heard == [f"{place}" for place in sorted(places)]

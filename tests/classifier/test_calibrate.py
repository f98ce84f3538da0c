"""No false success on the calibration data whenever possible; events counted as a person would."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from classifier import calibrate as rules
from classifier import events
from classifier.calibrate import CannotCalibrate, Gate, auc, fit_gate, fit_temperature, moved
from classifier.events import Trace, fires
from data.errors import UserError

PLAIN = ((1, 1), (2, 2), (3, 3))


def traces(p, marks):
    return [Trace.plain(a, b) for a, b in zip(p, marks, strict=True)]


def calibrate(p, marks, windows=PLAIN):
    return rules.calibrate(traces(p, marks), windows)


def evaluate(p, marks, threshold, hold, window=0):
    return events.score(traces(p, marks), threshold, hold, window)


def leave_one_out(p, marks):
    return rules.leave_one_out(traces(p, marks), PLAIN)


def hardest_negative(p, marks):
    return rules.hardest_negative(traces(p, marks))


PROBABILITIES = st.sampled_from([0.0, 1e-9, 0.1, 0.3, 0.5, 0.500001, 0.7, 0.9, 1 - 1e-13, 1.0])


@st.composite
def held_out(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    p = [np.array(draw(st.lists(PROBABILITIES, min_size=n, max_size=n))) for n in lengths]
    marks = [np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))) for n in lengths]
    return p, marks


def brute_force_fewest_missed(p, marks):
    """Try every hold and threshold that matters; fewest missed without a false success, else None."""
    thresholds = sorted({float(v) for trace in p for v in trace} | {0.05})
    found = []
    for hold in (1, 2, 3):
        for threshold in thresholds:
            scores = evaluate(p, marks, threshold, hold)
            if threshold > 0 and scores.false_successes == 0 and scores.missed < scores.successes:
                found.append(scores.missed)
    return min(found, default=None)


@given(held_out())
def test_never_a_false_success_and_as_few_missed_as_any_choice(data):
    p, marks = data
    fewest = brute_force_fewest_missed(p, marks)
    if fewest is None:
        with pytest.raises(CannotCalibrate, match="hilserl"):
            calibrate(p, marks)
        return
    chosen = calibrate(p, marks)
    scores = evaluate(p, marks, chosen.threshold, chosen.hold)
    assert scores.false_successes == 0
    assert scores.missed == fewest
    assert 1 <= chosen.hold <= 3
    assert 0 < chosen.threshold <= 1


@given(held_out(), st.floats(0.01, 1.0), st.integers(1, 3))
def test_every_marked_run_is_either_caught_or_missed(data, threshold, hold):
    p, marks = data
    scores = evaluate(p, marks, threshold, hold)
    assert scores.missed + len(scores.delays_frames) == scores.successes
    assert all(d >= -1 for d in scores.delays_frames)


def test_the_threshold_is_midway_in_logits_when_separable():
    mark = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    p = np.array([0.2, 0.2, 0.2, 0.2, 0.98, 0.98, 0.98, 0.98])
    chosen = calibrate([p], [mark])
    logit = np.log(chosen.threshold / (1 - chosen.threshold))
    assert logit == pytest.approx((np.log(0.2 / 0.8) + np.log(0.98 / 0.02)) / 2)
    assert chosen.hold == 3  # ties go to the hold that ignores most odd frames


def test_very_sure_negatives_do_not_pull_the_threshold_below_one_half():
    mark = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    assert calibrate([np.where(mark, 0.9, 1e-9)], [mark]).threshold == 0.5


def test_a_hold_count_rescues_a_single_odd_frame():
    mark = np.array([0] * 6 + [1] * 6, bool)
    p = np.where(mark, 0.9, 0.1)
    p[2] = 0.99  # one frame that no threshold below it can rule out
    chosen = calibrate([p], [mark])
    assert chosen.hold > 1
    assert evaluate([p], [mark], chosen.threshold, chosen.hold).missed == 0
    with pytest.raises(CannotCalibrate):
        calibrate([p], [mark], ((1, 1),))


def test_firing_one_frame_before_the_mark_is_early_and_two_frames_is_false():
    mark = np.array([0, 0, 0, 0, 1, 1], bool)
    one, two = np.array([0, 0, 0, 1, 1, 1.0]), np.array([0, 0, 1, 1, 1, 1.0])
    assert evaluate([one], [mark], 0.5, 1).false_successes == 0
    assert evaluate([one], [mark], 0.5, 1).delays_frames == (-1,)
    assert evaluate([two], [mark], 0.5, 1).false_successes == 1


def test_firing_on_after_the_mark_ends_is_false():
    mark = np.array([0, 1, 1, 0, 0], bool)
    assert evaluate([np.array([0, 1, 1, 1, 0.0])], [mark], 0.5, 1).false_successes == 1


def test_delay_counts_frames_from_the_start_of_the_mark():
    mark = np.array([0, 0, 1, 1, 1, 1, 1], bool)
    assert evaluate([mark.astype(float)], [mark], 0.5, 3).delays_frames == (2,)


def test_holding_starts_anew_in_each_episode():
    assert not fires(np.ones(2), 0.5, 3).any()
    assert fires(np.ones(4), 0.5, 3).tolist() == [False, False, True, True]


def test_leave_one_out_sees_the_false_success_that_the_calibration_hides():
    mark = np.array([0] * 5 + [1] * 5, bool)
    clean = np.where(mark, 0.99, 0.01)
    odd = np.where(np.arange(10) < 5, 0.9, 0.01)  # a failure that looks much like a success
    p, marks = [clean, clean, odd], [mark, mark, np.zeros(10, bool)]
    chosen = calibrate(p, marks)
    assert evaluate(p, marks, chosen.threshold, chosen.hold).false_successes == 0
    left_out = leave_one_out(p, marks)
    assert left_out is not None
    assert left_out.false_successes == 1
    assert leave_one_out(p[1:], marks[1:]) is None


def test_the_error_names_the_frame_that_is_in_the_way():
    mark = np.array([0, 0, 0, 0, 0, 1, 1], bool)
    p = np.array([0.1, 0.9, 0.95, 0.9, 0.1, 0.2, 0.2])
    with pytest.raises(CannotCalibrate, match="episode 0, frame 2"):
        calibrate([p], [mark])
    assert hardest_negative([p], [mark]) == (0, 2, 0.95)


@given(held_out())
def test_auc_is_the_share_of_pairs_in_the_right_order(data):
    p, mark = np.concatenate(data[0]), np.concatenate(data[1])
    assume(mark.any() and not mark.all())
    pairs = [(a > b) + 0.5 * (a == b) for a in p[mark] for b in p[~mark]]
    assert auc(p, mark) == pytest.approx(np.mean(pairs))


def test_unsure_frames_count_neither_way():
    """The frame after a mark still shows success: the camera's picture is older than the hand on the button."""
    mark = np.array([0, 0, 0, 1, 1, 1, 0, 0], bool)
    p = np.array([0, 0, 0, 0.9, 0.9, 0.9, 0.99, 0])
    sure, doubt = Trace.plain(p, mark), Trace(p, mark, np.arange(8) == 6)
    assert events.score([sure], 0.5, 1).false_successes == 1
    assert events.score([doubt], 0.5, 1).false_successes == 0
    with pytest.raises(CannotCalibrate):
        rules.calibrate([sure], ((1, 1),))
    assert rules.calibrate([doubt], ((1, 1),)).threshold == 0.5


def test_a_mark_of_which_no_frame_is_sure_is_neither_caught_nor_missed():
    mark = np.array([0, 1, 1, 0, 0], bool)
    assert events.score([Trace(np.zeros(5), mark, mark)], 0.5, 1).successes == 0


@given(
    st.lists(PROBABILITIES, min_size=1, max_size=20), st.integers(1, 3), st.integers(0, 3), st.sampled_from([0.3, 0.9])
)
def test_n_of_m_frames_is_what_it_says(trace, hold, more, threshold):
    fired = fires(np.array(trace), threshold, hold, hold + more)
    for t, said in enumerate(fired):
        assert said == (sum(p >= threshold for p in trace[max(0, t + 1 - hold - more) : t + 1]) >= hold)


@pytest.mark.parametrize("factor", [0.2, 0.7, 3.0])
def test_temperature_undoes_overconfidence(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    mark = rng.random(4000) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(logits * factor, mark) == pytest.approx(factor * fit_temperature(logits, mark), rel=0.06)


def test_a_gate_is_the_range_of_the_marked_frames_and_shuts_elsewhere():
    state = np.stack([np.linspace(0, 1, 11), np.zeros(11)], 1).astype(np.float32)
    gate = fit_gate("height", 0, state, state[:, 0] > 0.75)
    assert 0.6 < gate.low < 0.75 < 1.0 < gate.high
    base = rules.Calibration(0.5, 1, 0.0, gates=(gate,))
    p = base.probability(np.full(11, 3.0), state)
    assert (p[:6] == 0).all()
    assert p[9] == pytest.approx(1 / (1 + np.exp(-3)))


def test_a_person_may_move_threshold_and_hold_but_not_to_nonsense():
    chosen = rules.Calibration(0.7, 3, 1.0, 4, gates=(Gate("z", 0, 0.0, 1.0),))
    assert moved(chosen, 0.9, None, None) == rules.Calibration(0.9, 3, 1.0, 4, gates=chosen.gates)
    assert moved(chosen, None, 2, None).frames == 2
    for wrong in ((0.0, None, None), (1.1, None, None), (None, 0, None), (None, 3, 2)):
        with pytest.raises(UserError, match="accepted"):
            moved(chosen, *wrong)

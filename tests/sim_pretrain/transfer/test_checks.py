"""Transfer checks, on scripted policies of which it is known what they look at."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.schema import Observation
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.policy_file import save_policy
from sim_pretrain.episodes.evaluation import EpisodeResult, Evaluation
from sim_pretrain.episodes.rollout import Phase
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.transfer.blind_baseline import BaselineConfig, distil_small
from sim_pretrain.transfer.checks import Bench, CheckConfig, axes_of, check, drive, episodes_of, examine
from sim_pretrain.transfer.probe import (
    Blinded,
    InputGroup,
    Moment,
    Shuffled,
    action_change,
    input_groups,
    moments,
    shares,
    swapped,
)
from sim_pretrain.transfer.report import Actions, AxisEnd, TransferReport, Use

SHORT = dataclasses.replace(TASKS["lift"], spec=dataclasses.replace(TASKS["lift"].spec, time_limit_steps=40))
QUICK = CheckConfig(episodes=4, probe_episodes=3, axis_episodes=0)
SPEC = TASKS["lift"].spec.observation


class Brightness:
    """Cameras that see a grey whose level tells where the cube is sideways."""

    def __init__(self, world):
        self.world = world

    def read(self, name):
        grey = np.interp(self.world.truth().cube_m[1], (-0.06, 0.06), (20, 235))
        return np.full(
            (self.world.profile.native_height_px, self.world.profile.native_width_px, 3), grey, np.uint8
        ), 0.0


@pytest.fixture(scope="module")
def bench():
    torch.set_num_threads(1)
    made = Bench.make(SHORT)
    made.env._arm.frames = Brightness(made.env.world)
    yield made
    made.env.close()


class Looks:
    """Knows where the cube is sideways from the image alone; the rest it takes from the truth."""

    def __init__(self, env):
        self.env, self.expert = env, expert_of(env.task)

    def act(self, observation):
        truth, grey = self.env.truth, float(observation.images["wrist"].mean())
        side_m = float(np.interp(grey, (20, 235), (-0.06, 0.06)))
        return self.expert(dataclasses.replace(truth, cube_m=(truth.cube_m[0], side_m, truth.cube_m[2])))


class Cheats(Looks):
    """Never looks at its observation."""

    def act(self, observation):
        return self.expert(self.env.truth)


class Reads:
    """A policy that is a plain function of the observation."""

    def __init__(self, function):
        self.function = function

    def act(self, observation):
        return np.asarray(self.function(observation), np.float32)


@pytest.fixture(scope="module")
def looking(bench):
    return examine(bench, Looks(bench.env), QUICK, name="looks", golden=7)


@pytest.fixture(scope="module")
def cheating(bench):
    return examine(bench, Cheats(bench.env), QUICK, name="cheats")


def words(report, good):
    return " | ".join(f.words for f in report.verdict() if f.good is good)


def test_a_policy_that_looks_needs_its_camera(looking):
    assert looking.sighted.success == 1.0 and looking.black.success <= 0.25
    assert "it needs its camera" in words(looking, good=True)
    assert "camera" not in words(looking, good=False)
    image = next(u for u in looking.uses if u.name == "image")
    assert image.shuffled.success <= 0.25
    assert all(u.shuffled.success == 1.0 for u in looking.uses if u.name != "image")


def test_a_policy_that_never_looks_is_caught(cheating):
    assert cheating.black.success == cheating.sighted.success == 1.0
    assert "does not use its camera: 100% success with black images" in words(cheating, good=False)
    assert "images of other moments" in words(cheating, good=False)
    assert all(u.share == 0.0 for u in cheating.uses) and "uses: nothing" in cheating.text()
    assert cheating.next_command().startswith("hilserl pretrain")


def test_golden_pairs_are_counted_and_their_absence_is_suspicious(looking, cheating):
    assert "7 golden pairs" in words(looking, good=True)
    assert "no golden pairs" in words(cheating, good=False)


def test_the_same_check_gives_the_same_report(bench, looking):
    assert examine(bench, Looks(bench.env), QUICK, name="looks", golden=7) == looking


def test_the_report_is_json_text_and_a_picture(looking, tmp_path):
    found = json.loads(json.dumps(looking.to_json(), allow_nan=False))
    assert found["success"]["sighted"]["wins"] == 4 and found["golden"] == 7
    assert found["success"]["a policy made without seeing"] is None
    assert {u["input"] for u in found["uses"]} == {g.name for g in input_groups(SPEC)}
    assert "black images" in looking.text() and "Next: " in looking.text()
    looking.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_progress_counts_every_announced_episode(bench):
    done = []
    config = dataclasses.replace(QUICK, episodes=1, probe_episodes=1)
    examine(bench, Reads(lambda o: (0, 0, 0, 1)), config, progress=done.append)
    assert sum(done) == episodes_of(SHORT, config) == 3 + 1 + len(input_groups(SPEC))


def test_a_hand_that_never_moves_fails_and_is_called_idle(bench):
    grey = Reads(lambda o: (0, 0, 0, o.images["wrist"].mean() / 255))  # all that it does is open its hand more or less
    report = examine(bench, grey, dataclasses.replace(QUICK, episodes=1, probe_episodes=2))
    assert "This policy uses: image 100%" in report.text()
    assert report.sighted.wins == 0 and report.actions.idle == 1.0
    assert "asks the hand to stay in 100%" in words(report, good=False)
    assert "camera" not in words(report, good=True) + words(report, good=False)  # nothing is known about it


def test_axes_are_tried_at_both_ends_on_the_same_starts(bench, monkeypatch):
    tried = []

    class Notes(Cheats):
        def begin(self):
            pass

        def act(self, observation):
            truth, profile = self.env.truth, self.env.world.profile
            tried.append((profile.cube_half_m, profile.pad_friction, truth.cube_half_m, truth.cube_m[:2]))
            return (0, 0, 0, 1)

    monkeypatch.setattr("sim_pretrain.transfer.checks.axes_of", lambda task: ("cube_half_m", "pad_friction"))
    config = dataclasses.replace(QUICK, episodes=1, probe_episodes=0, axis_episodes=1)
    report = examine(bench, Notes(bench.env), config)
    assert [(a.axis, a.end) for a in report.axes] == [
        ("cube_half_m", "low"), ("cube_half_m", "high"), ("pad_friction", "low"), ("pad_friction", "high"),
    ]  # fmt: skip
    steps = SHORT.spec.time_limit_steps
    ends = [tried[-k * steps] for k in (4, 3, 2, 1)]
    centre = SHORT.profile
    assert [e[0] for e in ends] == pytest.approx([0.012, 0.018, centre.cube_half_m, centre.cube_half_m])
    assert [e[0] for e in ends] == pytest.approx([e[2] for e in ends])  # the world really is so
    assert [e[1] for e in ends] == pytest.approx([1.0, 1.0, 0.6, 1.4])
    np.testing.assert_allclose([e[3] for e in ends], [ends[0][3]] * 4, atol=1e-4)
    assert bench.env.world.profile.cube_half_m != centre.cube_half_m or bench.tables.now is None
    assert "cube_half_m" in report.text() and len(report.to_json()["axes"]) == 4


def test_axes_of_cameras_that_the_policy_does_not_have_are_left_out():
    assert not any(axis.startswith("front") for axis in axes_of(TASKS["lift"]))
    assert "wrist_fovy_deg" in axes_of(TASKS["lift"])
    assert "target_rgb" in axes_of(TASKS["bowl"]) and "target_rgb" not in axes_of(TASKS["lift"])


def test_every_input_belongs_to_exactly_one_group():
    groups = input_groups(SPEC)
    rows = sorted(i for g in groups for i in g.state)
    assert rows == list(range(SPEC.state_dim))
    assert [g.cameras for g in groups if g.cameras] == [SPEC.policy_cameras]
    assert len({g.name for g in groups}) == len(groups)
    arm = next(g for g in groups if g.name == "arm pose")
    assert set(arm.state) == {0, 1, 2, 3, 4, 12, 13, 14}  # joints but the gripper's, and where they put the hand
    assert next(g for g in groups if g.name == "gripper").state == (5,)


def random_moments(count, episodes=2, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Moment(
            i * episodes // count,
            (),
            Observation(
                {"wrist": rng.integers(0, 256, (4, 4, 3), np.uint8)},
                rng.uniform(-1, 1, SPEC.state_dim).astype(np.float32),
                0.0,
            ),
        )
        for i in range(count)
    ]


def test_the_change_of_action_is_that_of_the_inputs_that_are_read():
    policy = Reads(lambda o: (o.images["wrist"].mean() / 255, 3 * o.state[5], o.state[18], 0.0))
    changes = action_change(policy, random_moments(200), input_groups(SPEC), np.random.default_rng(0))
    assert changes["gripper"][1] == pytest.approx(2.0, rel=0.2)  # two uniform draws differ by 2/3 on average
    assert changes["previous action"][2] == pytest.approx(2 / 3, rel=0.2)
    assert changes["image"][0] > 0 and not changes["image"][1:].any()
    for silent in ("arm pose", "joint velocity", "command lead"):
        assert not changes[silent].any()
    found = shares(changes)
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=found.__getitem__) == "gripper" and found["gripper"] > found["previous action"] > 0


def test_an_input_is_exchanged_between_episodes_and_nothing_else_is():
    seen = random_moments(20)
    group = InputGroup("gripper", state=(5,))
    own, other = seen[0].observation, seen[19].observation
    mixed = swapped(own, other, group)
    assert mixed.state[5] == other.state[5]
    np.testing.assert_array_equal(np.delete(mixed.state, 5), np.delete(own.state, 5))
    assert mixed.images["wrist"] is own.images["wrist"]
    assert own.state[5] != other.state[5]  # and the original is untouched

    asked = []
    policy = Reads(lambda o: asked.append(o.state[5]) or (0, 0, 0, 0))
    action_change(policy, seen, [group], np.random.default_rng(0))
    theirs = {m.observation.state[5]: m.episode for m in seen}
    assert all(theirs[a] != theirs[b] for a, b in zip(asked[:20], asked[20:], strict=True))


def test_a_policy_of_stacked_frames_is_given_frames_that_belong_together():
    torch.manual_seed(0)
    policy = Policy(SPEC, 4, NetworkConfig(stack=3)).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 84, 84, 3), np.uint8)

    class Recorded:
        images = None
        state = np.zeros((6, SPEC.state_dim), np.float32)
        stamp_s = np.zeros(6)

        def __len__(self):
            return 5

    recorded = Recorded()
    recorded.images = {"wrist": images}
    seen = moments([recorded], policy)
    assert [len(m.before) for m in seen] == [0, 1, 2, 2, 2]
    policy.begin()
    plain = [policy.act(m.observation) for m in seen]
    image = input_groups(SPEC)[0]
    shuffled = Shuffled(policy, seen, image, seed=0)
    shuffled.begin()
    for _ in range(8):  # every answer is one that belongs to some moment of the record
        answer = shuffled.act(seen[0].observation)
        assert min(np.abs(answer - p).max() for p in plain) < 1e-6
    change = action_change(policy, seen, input_groups(SPEC)[1:2], np.random.default_rng(0))
    assert change["arm pose"].max() < 1e-6  # all states are equal here


def test_a_lens_cap_makes_images_black_and_leaves_the_state():
    asked = []
    observation = random_moments(1, 1)[0].observation
    Blinded(Reads(lambda o: asked.append(o) or (0, 0, 0, 0))).act(observation)
    assert not asked[0].images["wrist"].any() and asked[0].images["wrist"].dtype == np.uint8
    np.testing.assert_array_equal(asked[0].state, observation.state)
    assert observation.images["wrist"].any()


def test_saturation_and_idleness_are_shares_of_steps():
    actions = np.array([[1, 0, 0, 1], [-0.96, 0, 0.5, 1], [0.9, 0.04, 0.5, -1], [0.0, 0.04, -0.04, 0.2]])
    found = drive(actions, ("dx", "dy", "dz", "gripper"))
    assert found.saturated == {"dx": 0.5, "dy": 0.0, "dz": 0.0, "gripper": 0.75}
    assert found.idle == 0.25
    assert drive(actions[:0], ("dx", "dy", "dz", "gripper")).idle == 0.0


def some(wins, n=50):
    phases = [Phase.SUCCESS] * wins + [Phase.MISSED] * (n - wins)
    return Evaluation(tuple(EpisodeResult(i, p, 20, 0.1, 0.3, 0.0) for i, p in enumerate(phases)))


def report(**changes):
    uses = (Use("image", 0.9, (0.1,) * 4, some(2)), Use("previous action", 0.1, (0.0,) * 4, some(48)))
    usual = {
        "name": "p", "task": "lift", "seed": 0, "own_table": False, "golden": 32, "sighted": some(49),
        "black": some(3), "baseline": some(4), "randomized": some(47), "uses": uses,
        "actions": Actions({"dx": 0.2, "dy": 0.2, "dz": 0.2, "gripper": 1.0}, 0.1),
        "axes": (AxisEnd("gamma", "low", 0.8, some(20, 20)), AxisEnd("gamma", "high", 1.2, some(18, 20))),
    }  # fmt: skip
    return TransferReport(**{**usual, **changes})


def test_a_sound_policy_has_nothing_suspicious_and_goes_on():
    assert not report().suspicious and "demo" in report().next_command()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sighted": some(30)}, "succeeds in 60%"),
        ({"black": some(20)}, "does not use its camera"),
        ({"baseline": some(20)}, "the task can be done blind"),
        ({"randomized": some(20)}, "when every table is another"),
        ({"axes": (AxisEnd("gamma", "low", 0.8, some(8, 20)),)}, "success drops at gamma low"),
        ({"actions": Actions({"dx": 0.95, "dy": 0.99, "dz": 1.0, "gripper": 0.0}, 0.0)}, "full speed"),
        ({"actions": Actions({"dx": 0.0, "dy": 0.0, "dz": 0.0, "gripper": 1.0}, 0.6)}, "stay in 60%"),
        ({"uses": (Use("previous action", 0.5, (0.1,) * 4, some(40)),)}, "its own last action"),
        ({"golden": 0}, "no golden pairs"),
    ],
)
def test_each_fault_is_named(changes, expected):
    assert expected in words(report(**changes), good=False)
    assert expected not in words(report(**changes), good=True)
    assert f"suspicious: {words(report(**changes), good=False)}" in report(**changes).text()


def test_a_weak_axis_alone_does_not_send_one_back_to_training():
    weak = report(axes=(AxisEnd("gamma", "low", 0.8, some(8, 20)),))
    assert weak.suspicious and weak.next_command() == report().next_command()
    assert "0.8: 40% !" in weak.text() and "!" not in report().text()


def test_a_checkpoint_is_checked_with_its_golden_pairs_verified(tmp_path):
    torch.manual_seed(0)
    short = dataclasses.replace(SHORT, spec=dataclasses.replace(SHORT.spec, time_limit_steps=2))
    policy = Policy(short.spec.observation, 4).eval()
    rng = np.random.default_rng(0)
    golden = [
        Observation(
            {"wrist": rng.integers(0, 256, (84, 84, 3), np.uint8)},
            np.zeros(short.spec.observation.state_dim, np.float32),
            0.0,
        )
        for _ in range(3)
    ]
    save_policy(tmp_path / "p", policy, short.spec, {}, golden=golden)
    config = dataclasses.replace(QUICK, episodes=1, probe_episodes=1)
    found = check(tmp_path / "p", short, config)
    assert found.golden == 3 and found.name.endswith("p") and found.sighted.n == 1
    with pytest.raises(UserError, match="no such folder"):
        check(tmp_path / "absent", short, config)
    with pytest.raises(UserError, match="another task spec"):
        check(tmp_path / "p", TASKS["lift"], config)


def test_the_blind_baseline_is_a_policy_that_was_shown_nothing():
    torch.manual_seed(5)
    before, seen = torch.random.get_rng_state(), []
    tiny = BaselineConfig(teacher_episodes=2, cloning_updates=2, round_episodes=1, round_updates=1)
    policy = distil_small(EnvConfig(blind=True), tiny, seen.append)
    assert seen == [1, 1, 1] and not policy.training
    assert torch.equal(torch.random.get_rng_state(), before)
    again = distil_small(EnvConfig(blind=True), tiny)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.spec import (
    ActionSpec,
    CameraSpec,
    ObservationSpec,
    SpecMismatch,
    StateField,
    TaskSpec,
    require_same,
)

finite = st.floats(-1e6, 1e6)
names = st.text(min_size=1, max_size=8)
points = st.tuples(finite, finite, finite)
tasks = st.builds(
    TaskSpec,
    name=names,
    observation=st.builds(
        ObservationSpec,
        cameras=st.lists(
            st.builds(CameraSpec, names, st.tuples(finite, finite, finite, finite), st.integers(1, 512)),
            max_size=3,
        ).map(tuple),
        policy_cameras=st.lists(names, max_size=2).map(tuple),
        state=st.lists(st.builds(StateField, names, st.integers(1, 9), names, finite, finite), max_size=3).map(tuple),
    ),
    action=st.builds(ActionSpec, step_m=finite),
    rate_hz=finite,
    start_low_m=st.tuples(st.floats(-1, 0.2), st.floats(-1, 0.03), st.floats(-1, 0.1)),
    workspace_high_m=points,
)


@settings(max_examples=30, deadline=None)
@given(tasks)
def test_json_round_trip_keeps_the_spec_and_its_fingerprint(task):
    back = TaskSpec.from_json(task.to_json())
    assert back == task
    assert back.fingerprint == task.fingerprint
    require_same(task, back, "its copy")


def test_starts_that_vary_less_than_a_reset_can_tell_are_refused():
    task = TaskSpec("t", ObservationSpec((), (), ()))
    narrow = (task.start_high_m[0], task.start_high_m[1], task.start_low_m[2] + 0.014)
    with pytest.raises(UserError, match=r"14\.0 mm in z.*at least 15 mm"):
        replace(task, start_high_m=narrow)
    fixed = replace(task, start_high_m=task.start_low_m)
    assert fixed.start_high_m == fixed.start_low_m


def test_load_reads_a_file(made, tmp_path):
    (tmp_path / "spec.json").write_text(made.task().to_json())
    assert TaskSpec.load(tmp_path / "spec.json") == made.task()


def leaves(tree, path=()):
    """Every (path, value) of nested JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield path, tree
        return
    for key, sub in items:
        yield from leaves(sub, (*path, key))


def test_every_single_value_is_in_the_fingerprint_and_in_the_diff(made):
    task = made.task()
    paths = [path for path, _ in leaves(json.loads(task.to_json()))]
    assert len(paths) > 30
    for path in paths:
        tree = json.loads(task.to_json())
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] += {str: "x", int: 1, float: 0.01}[type(node[path[-1]])]
        other = TaskSpec.from_json(json.dumps(tree))
        assert other.fingerprint != task.fingerprint, path
        with pytest.raises(SpecMismatch) as error:
            require_same(task, other, "the checkpoint")
        assert f"  {'.'.join(map(str, path))}: this session has " in str(error.value)


def test_the_diff_lists_only_what_differs_and_both_values(made):
    task = made.task()
    other = replace(task, rate_hz=20.0, action=replace(task.action, step_m=0.02))
    with pytest.raises(SpecMismatch) as error:
        require_same(task, other, "the classifier")
    rows = [line for line in str(error.value).splitlines() if line.startswith("  ")]
    assert rows == [
        "  action.step_m: this session has 0.01, the classifier has 0.02",
        "  rate_hz: this session has 10.0, the classifier has 20.0",
    ]
    assert isinstance(error.value, UserError) and "hilserl pretrain" in str(error.value)


def test_a_camera_more_is_shown_as_absent(made):
    with pytest.raises(SpecMismatch, match=r"cameras\.1\.name: this session has \(absent\), it has camera1"):
        require_same(made.task(cameras=1), made.task(cameras=2), "it")


@pytest.mark.parametrize("where", [(), ("action",), ("observation", "cameras", 0)])
def test_an_unknown_key_is_an_error(made, where):
    tree = json.loads(made.task().to_json())
    node = tree
    for key in where:
        node = node[key]
    node["colour"] = 1
    with pytest.raises(Exception, match="colour"):
        TaskSpec.from_json(json.dumps(tree))


def test_a_missing_key_is_an_error(made):
    tree = json.loads(made.task().to_json())
    del tree["observation"]
    with pytest.raises(Exception, match="observation"):
        TaskSpec.from_json(json.dumps(tree))


def test_state_dim_sums_the_fields(made):
    fields = (StateField("a", 6, "rad", -1, 1), StateField("b", 3, "m", 0, 1))
    assert replace(made.task().observation, state=fields).state_dim == 9

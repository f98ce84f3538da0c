"""A task is named, or described in a file."""

import dataclasses

import pytest

from data.errors import UserError
from hilserl.tasks import bowl_task, lift_task, paper_task, read_task


@pytest.mark.parametrize("make", [lift_task, bowl_task, paper_task])
def test_a_name_means_its_task(make):
    assert read_task(make().name) == make()


def test_a_path_means_the_spec_in_it(tmp_path):
    longer = dataclasses.replace(lift_task(), time_limit_steps=123)
    (tmp_path / "task.json").write_text(longer.to_json())
    assert read_task(str(tmp_path / "task.json")) == longer


def test_anything_else_is_refused_with_what_is_accepted():
    with pytest.raises(UserError, match="lift, bowl, paper, or the path"):
        read_task("stack")


def test_no_two_tasks_pass_for_each_other():
    assert len({t().fingerprint for t in (lift_task, bowl_task, paper_task)}) == 3

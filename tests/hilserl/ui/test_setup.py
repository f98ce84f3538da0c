"""The set-up page in a browser, before an arm that a hand moves: what is shown becomes a task that loads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from data.spec import TaskSpec
from hilserl.agents.policy_file import load_policy
from hilserl.commands.setup import SetupArgs, keep
from hilserl.loop.env import start_joints
from hilserl.robot.kinematics import ee_position
from hilserl.tasks import lift_task
from hilserl.ui.setup import Setup, setup_routes

TASK = lift_task()


class Table:
    """Two cameras, and an arm that is where it was put."""

    names = ("wrist", "front")

    def __init__(self) -> None:
        self.frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8).repeat(5, 0).repeat(5, 1)
        self.put(0.23, 0.0, 0.1)

    def put(self, x_m: float, y_m: float, z_m: float) -> None:
        self.joints = start_joints(TASK, np.array([x_m, y_m, z_m]))

    def newest(self, name: str) -> tuple[np.ndarray, float]:
        return self.frame, 0.0

    def joints_rad(self) -> np.ndarray:
        return self.joints

    def limp(self) -> bool:
        return True


@pytest.mark.browser
def test_a_task_is_shown_and_kept(page: Page, served: Callable, tmp_path: Path) -> None:
    table, args = Table(), SetupArgs(robot=None, output_dir=tmp_path / "table")  # type: ignore[arg-type]
    page.goto(served(setup_routes(Setup(TASK, table, table, lambda task: keep(args, TASK, task)))))
    expect(page.locator("#hand")).to_have_text("x 230   y 0   z 100")
    expect(page.locator("#limp")).to_have_text("limp: move it by hand")

    canvas = page.locator("[data-camera=wrist] canvas")
    expect(canvas).to_have_attribute("width", "320")
    box = canvas.bounding_box()
    assert box is not None
    scale = box["width"] / 320
    page.mouse.move(box["x"] + 100.5 * scale, box["y"] + 20.5 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 200.5 * scale, box["y"] + 60.5 * scale)
    page.mouse.up()
    expect(page.locator("[data-camera=wrist] .size")).to_have_text("100 px square")

    corners = ((0.17, -0.12, 0.06), (0.29, 0.13, 0.17))
    for corner, button in zip(corners, ("#one", "#opposite"), strict=True):
        table.put(*corner)
        page.locator(button).click()
        expect(page.locator(button)).to_have_class("down")  # it was measured
    expect(page.locator("#problems")).to_contain_text("60 mm above the table")
    expect(page.get_by_role("button", name="keep it")).to_be_disabled()
    table.put(0.17, -0.12, 0.02)
    page.get_by_role("button", name="this is one corner").click()
    expect(page.locator("#problems li")).to_have_count(0)
    table.put(0.24, 0.01, 0.11)
    page.get_by_role("button", name="take this pose").click()
    expect(page.locator("#starts")).to_have_text("starts at 240 ± 40, 10 ± 50, 110 ± 20 mm")
    page.get_by_role("button", name="keep it").click()
    expect(page.locator("#flags")).to_have_text(
        f"--task={tmp_path}/table/task.json --policy.path={tmp_path}/table/policy"
    )

    found = TaskSpec.load(tmp_path / "table" / "task.json")
    load_policy(tmp_path / "table" / "policy", found)  # does what it did
    shown = (ee_position(start_joints(TASK, np.array(c))) for c in ((0.17, -0.12, 0.02), corners[1]))
    np.testing.assert_allclose([found.workspace_low_m, found.workspace_high_m], list(shown), atol=1e-3)
    wrist = found.observation.cameras[0]
    assert wrist.crop == pytest.approx((20 / 240, 100 / 320, 100 / 240, 100 / 320), abs=1.5 / 240)
    assert found.observation.cameras[1] == TASK.observation.cameras[1]

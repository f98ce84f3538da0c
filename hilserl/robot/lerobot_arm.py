"""LeRobot's unmodified SO-101 driver behind our `Arm`: radians, limits, faults in words, never a dropped arm.

The traps that this avoids were measured; see `research/emulation.md` Q1 and Q7.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from hilserl.robot.bus import (
    READ_RETRIES,
    ArmFault,
    BusFault,
    CleanInput,
    claim,
    close_port,
    faults,
    is_configured,
)
from hilserl.robot.calibration import require_calibration_file, require_same_calibration, tick_scale
from hilserl.robot.clock import Clock
from hilserl.robot.goals import GoalFilter
from hilserl.robot.guard import hold_motors, release_motors, thaw_motors
from hilserl.robot.heartbeat import Heartbeat
from hilserl.robot.joints import JointLimits, JointReading
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import Motors
from hilserl.robot.safety import Limit, finite
from hilserl.robot.watch import OVERDUE_S, ServoWatch

_CONNECT_ATTEMPTS = 6  # the driver configures motors in some 90 transactions without retries; a cable settles
_ADVICE = "The arm holds its last goal. Check its power supply and both cables, then reconnect or start again"
logger = logging.getLogger(__name__)


class LeRobotArm:
    """`Arm` on an unmodified LeRobot SO-101 follower. Thread-safe. Use it through `connect_arm`."""

    def __init__(
        self,
        robot: Any,  # lerobot SO101Follower; LeRobot ships no types for its bus
        clock: Clock,
        *,
        write_period_s: float = 0.02,  # time between two `write`s, of `clock`; turns speeds into steps
        max_joint_speed_rad_s: float = 3.0,  # body joints; twice what a 2 cm step at 10 Hz takes
        max_gripper_speed_rad_s: float = 9.0,  # a full closing command in one control step
        heartbeat: Heartbeat | None = None,  # of the torque guard; none: nothing freezes the arm if this process dies
    ) -> None:
        """Connect; the arm holds the pose it is in.

        An arm that already holds, configured as this robot wants it, stays energised throughout. Any other is
        configured by the driver, limp meanwhile.

        Raises:
            ArmFault: the port, a motor or the calibration is not in order.
        """
        self._robot, self._bus, self._clock, self._heartbeat = robot, robot.bus, clock, heartbeat
        self._motors = Motors(self._bus.port_handler, self._bus.packet_handler)
        self._port = str(robot.config.port)
        self._lock = threading.RLock()
        self._holding = self._released = False
        self._claim: int | None = None
        require_calibration_file(robot)
        self._scale = tick_scale(robot.calibration)
        self._limits = self._scale.limits()
        speed_rad_s = np.array([max_joint_speed_rad_s] * 5 + [max_gripper_speed_rad_s])
        self._goals = GoalFilter(self._limits, speed_rad_s, write_period_s)
        self._watch = ServoWatch(self.ask)
        self._jaw_rad = 0.0  # as last measured
        self._clean = CleanInput(self._bus)
        for remaining in reversed(range(_CONNECT_ATTEMPTS)):
            try:
                self._connect()
                break
            except BusFault:
                if not remaining:
                    raise
            self._let_go()
            time.sleep(0.3)

    @property
    def limits(self) -> JointLimits:
        """The calibrated range, less a small margin."""
        return self._limits

    @property
    def hits(self) -> Counter[Limit]:
        """How many goals each limit has changed so far."""
        return self._goals.hits

    def celsius(self) -> dict[str, int]:
        """Return {joint: temperature}, as looked at last; each motor has its turn about once a second."""
        return dict(self._watch.celsius)

    def read(self) -> JointReading:
        """Read the positions in one transaction. No camera is involved.

        Raises:
            ArmFault: no answer, or a joint has been far from its goal for a while; or as in `write`.
        """
        with self._lock:
            reading = JointReading(self._scale.to_rad(self._present_ticks()), self._clock.now_s())
            self._jaw_rad = float(reading.positions_rad[5])
            with self._holding_on_fault():
                self._watch.follow(self._goals.last_rad, reading.positions_rad, reading.stamp_s)
                self._watch.look(reading.stamp_s, OVERDUE_S)
            return reading

    def write(self, goal_rad: np.ndarray) -> np.ndarray:
        """Send of `goal_rad` [6] what the limits of joint, grip, speed and acceleration allow from the last goal sent.

        Raises:
            ValueError: not six finite numbers.
            ArmFault: the port is gone, the arm was released, a motor is hot or reports an alarm, or the torque guard
                has ended. Motors do not acknowledge goals, so a silent bus shows at the next `read`.
        """
        goal = finite(goal_rad, "joint goal").astype(np.float64)
        if goal.shape != (6,):
            raise ValueError(f"joint goal has shape {goal.shape}; accepted is (6,) in the order {JOINTS}")
        with self._lock:
            if self._released:
                raise ArmFault("the arm was released and is limp; support it and call hold() before moving it")
            if self._goals.last_rad is None:
                self._goals.anchor(self._scale.to_rad(self._present_ticks()))
            if self._heartbeat:
                self._heartbeat.beat()
            sent = self._goals(goal)
            self._holding = False
            self._send(self._scale.to_ticks(sent))
            with self._holding_on_fault():
                current_a = self._watch.look(self._clock.now_s())  # here, because a pause follows each goal
            if current_a is not None:  # an old one would loosen the grip again and again
                self._goals.see_jaw(self._jaw_rad, current_a)
            return sent

    def hold(self) -> None:
        """Make the present pose the goal and check that the motors took it, one by one if need be.

        Raises:
            ArmFault: some joints did not confirm; all others hold.
        """
        with self._lock:
            self.rest()
            if self._holding:
                return
            if self._released or not self._hold_at_once():
                report = hold_motors(self._motors)
                self._goals.anchor(None)
                if not report.complete:
                    raise ArmFault(f"not every joint confirmed that it holds on {self._port}: {report}. {_ADVICE}")
            self._holding, self._released = True, False

    def rest(self) -> None:
        """Tell the torque guard that no goals come for a while."""
        if self._heartbeat:
            self._heartbeat.rest()

    def release(self) -> None:
        """Switch torque off motor by motor; `hold` energises again.

        Raises:
            ArmFault: some joints did not confirm; all others are limp.
        """
        with self._lock:
            self.rest()
            self._holding, self._released = False, True
            self._goals.anchor(None)
            report = release_motors(self._motors)
            if not report.complete:
                raise ArmFault(
                    f"not every joint confirmed that its torque is off on {self._port}: {report}. "
                    f"Switch the arm's power off, or try again with: hilserl unlock --robot.port={self._port}"
                )

    def close(self) -> None:
        """Hold unless released, and close the port; torque stays. `hilserl unlock` releases later."""
        with self._lock:
            if not self._released:
                try:
                    self.hold()
                except ArmFault as fault:
                    logger.warning("%s", fault)
            self._let_go()

    def reconnect(self) -> None:
        """Close the port and connect again; the arm holds its last goal meanwhile.

        Raises:
            ArmFault: it still does not answer.
        """
        with self._lock:
            self._let_go()
            self._connect()

    def _connect(self) -> None:
        try:
            self._claim = claim(self._port)
            with self._transaction("connecting"):
                self._bus.connect()
                require_same_calibration(self._robot)
                # Switched on with an old goal, the motors would jump to it.
                self._send(self._present_ticks())
                thaw_motors(self._motors)
                if not is_configured(self._robot):
                    try:
                        self._robot.configure()
                    except BaseException:
                        hold_motors(self._motors)  # it may have left the arm limp half-way
                        raise
                self._holding = self._released = False
                self.hold()
        except BaseException as error:
            found = self._motors.alarms() if isinstance(error, BusFault) else ""
            self._let_go()
            if found:  # the driver takes a motor that reports an alarm for one that is missing
                raise ArmFault(found) from error
            raise

    def _let_go(self) -> None:
        close_port(self._bus)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def _hold_at_once(self) -> bool:
        """Hold with one broadcast and confirm it by reading back; False when that does not work."""
        try:
            ticks = self._present_ticks()
            self._send(ticks)
            with self._transaction("confirming the goal"):
                goals = self._bus.sync_read("Goal_Position", normalize=False, num_retry=READ_RETRIES)
        except ArmFault:
            return False
        self._goals.anchor(self._scale.to_rad(ticks))
        return all(goals[j] == t for j, t in zip(JOINTS, ticks, strict=True))

    def _present_ticks(self) -> np.ndarray:
        with self._transaction("reading the joints"):
            ticks = self._bus.sync_read("Present_Position", normalize=False, num_retry=READ_RETRIES)
            return np.array([ticks[j] for j in JOINTS], np.int64)

    @contextlib.contextmanager
    def _holding_on_fault(self) -> Iterator[None]:
        try:
            yield
        except BusFault:  # then it would not hear us
            raise
        except ArmFault:
            if not self._released:
                with contextlib.suppress(ArmFault):
                    self.hold()
            raise

    def ask(self, register: str, joint: str) -> tuple[int, int]:
        """Return a raw register of `motors.REGISTERS`, and the bits of the motor's alarms.

        Raises:
            ArmFault: the motor does not answer.
        """
        with self._lock, self._transaction(f"reading {register} of {joint}"):
            return self._motors.ask(register, joint)

    def _send(self, ticks: np.ndarray) -> None:
        with self._transaction("writing the goal"):
            goals = {joint: int(tick) for joint, tick in zip(JOINTS, ticks, strict=True)}
            self._bus.sync_write("Goal_Position", goals, normalize=False)

    @contextlib.contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        self._clean.require()
        self._bus.port_handler.is_using = False  # ours is the only thread here: a set flag is a leftover
        try:
            with faults(what, self._port, _ADVICE):
                yield
        except ArmFault:
            # Goals may have been lost: the next write starts from where the arm is.
            self._goals.anchor(None)
            self.rest()
            raise

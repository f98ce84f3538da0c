"""LeRobot's unmodified SO-101 leader behind `teleop.leader.LeaderArm`: soft while it follows, limp in a hand."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hilserl.robot.bus import READ_RETRIES, ArmFault, BusFault, CleanInput, claim, close_port, faults
from hilserl.robot.calibration import require_calibration_file, require_same_calibration, tick_scale
from hilserl.robot.guard import release_motors
from hilserl.robot.kinematics import JOINTS, ee_position
from hilserl.robot.motors import Motors
from teleop.inputs import Operator, OperatorConfig
from teleop.leader import Leader
from teleop.takeover import LeaderFeel, LeaderReading

_CONNECT_ATTEMPTS = 6  # the driver configures motors in some 90 transactions without retries; a cable settles
_FULL_TORQUE = 1000  # of Torque_Limit and Present_Load
_ADVICE = "Check the leader's power supply and both cables; the session goes on when it answers"
_SOFTENED = {"Torque_Limit", "P_Coefficient"}  # registers that are put back at the end
logger = logging.getLogger(__name__)


@OperatorConfig.register_subclass("so101_leader")
@dataclass(frozen=True)
class LeaderConfig(OperatorConfig):
    """`--teleop.type=so101_leader`: grab it to take over, let it rest to hand back."""

    port: str  # of the leader, as in LeRobot: --teleop.port=/dev/ttyACM1
    id: str  # name of its calibration, as in LeRobot: --teleop.id=my_leader
    calibration_dir: Path | None = None  # where that is; none: LeRobot's own place
    feel: LeaderFeel = field(default_factory=LeaderFeel)  # how soft it is, and what counts as a hand on it

    has_buttons = False

    def glyphs(self) -> dict[str, str]:
        """Return what is taken hold of."""
        return {"deadman": "the leader"}

    def connect(self) -> Operator:
        """Open the leader; it is limp until it is shown the arm.

        Raises:
            ArmFault: the port, a motor or the calibration is not in order.
        """
        arm = LeRobotLeader(self)
        try:
            return Leader(arm, self.feel, ee_position)
        except BaseException:
            arm.close()
            raise


class LeRobotLeader:
    """`teleop.leader.LeaderArm` on an unmodified LeRobot SO-101 leader. For one thread.

    Angles come from encoder ticks, by the scale of the follower's: radians on both sides, whatever `use_degrees`.
    """

    def __init__(self, config: LeaderConfig) -> None:
        """Connect; the leader is limp.

        Raises:
            ArmFault: the port, a motor or the calibration is not in order.
        """
        from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

        self._port, self._feel = config.port, config.feel
        options = SO101LeaderConfig(port=config.port, id=config.id, calibration_dir=config.calibration_dir)
        try:
            self._leader = SO101Leader(options)
        except Exception as error:  # the parser of the calibration file raises several unrelated types
            raise ArmFault(
                f"the calibration file of leader {config.id!r} cannot be read ({error}). Calibrate with: "
                f"lerobot-calibrate --teleop.type=so101_leader --teleop.port={config.port} --teleop.id={config.id}"
            ) from error
        require_calibration_file(self._leader)
        self._scale = tick_scale(self._leader.calibration)
        self._bus = self._leader.bus
        self._clean = CleanInput(self._bus)
        self._claim: int | None = None
        self._energised = False
        self._found: dict[str, dict[str, int]] = {}  # register -> value by joint, before we made it soft
        for remaining in reversed(range(_CONNECT_ATTEMPTS)):
            try:
                self.reconnect()
                break
            except BusFault:
                if not remaining:
                    raise
            time.sleep(0.3)

    @property
    def limits_rad(self) -> np.ndarray:
        """The calibrated range, [2, 6] rad."""
        limits = self._scale.limits()
        return np.stack([limits.low_rad, limits.high_rad])

    def read(self) -> LeaderReading:
        """Read positions, and the load unless it is limp."""
        with self._transaction("reading the leader"):
            ticks = self._bus.sync_read("Present_Position", normalize=False, num_retry=READ_RETRIES)
            load = dict.fromkeys(JOINTS, 0)
            if self._energised:
                load = self._bus.sync_read("Present_Load", normalize=False, num_retry=READ_RETRIES)
        joints_rad = self._scale.to_rad(np.array([ticks[j] for j in JOINTS]))
        share = np.array([load[j] for j in JOINTS]) / _FULL_TORQUE
        return LeaderReading(time.monotonic(), joints_rad, share, self._energised)

    def hold_at(self, goal_rad: np.ndarray) -> None:
        """Send a goal [6] rad; when limp, get the force back first, softly and where it is."""
        with self._transaction("moving the leader"):
            if not self._energised:
                self._energise()
            ticks = self._scale.to_ticks(goal_rad)
            goals = {joint: int(tick) for joint, tick in zip(JOINTS, ticks, strict=True)}
            self._bus.sync_write("Goal_Position", goals, normalize=False)

    def release(self) -> None:
        """Switch torque off, motor by motor."""
        if self._energised:
            report = release_motors(Motors(self._bus.port_handler, self._bus.packet_handler))
            if not report.complete:
                raise BusFault(f"the leader on {self._port} did not go limp: {report}. {_ADVICE}")
            self._energised = False

    def reconnect(self) -> None:
        """Close the port and connect again, once; the leader is limp then."""
        self._let_go()
        self._claim = claim(self._port)
        try:
            with self._transaction("connecting the leader"):
                self._bus.connect()
                require_same_calibration(self._leader)
                self._leader.configure()  # switches torque off
                self._energised = False
                for register in _SOFTENED - self._found.keys():
                    self._found[register] = self._bus.sync_read(register, normalize=False, num_retry=READ_RETRIES)
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Go limp, put back what made it soft, and close the port. Does not raise."""
        try:
            self.release()
            with self._transaction("restoring the leader"):
                for register, values in self._found.items():
                    self._bus.sync_write(register, values, normalize=False)
        except ArmFault as fault:
            logger.warning("%s", fault)
        self._let_go()

    def _energise(self) -> None:
        """Motor by motor, in an order in which none jumps or is ever stiff; locked, a gain outlives no power cycle."""
        self._energised = True  # from the first motor on
        for joint in JOINTS:
            goal = self._bus.read("Present_Position", joint, normalize=False, num_retry=READ_RETRIES)
            for register, value in (
                ("Goal_Position", goal),
                ("Torque_Limit", round(self._feel.torque_limit * _FULL_TORQUE)),
                ("Lock", 1),
                ("P_Coefficient", self._feel.p_coefficient),
                ("Torque_Enable", 1),
            ):
                self._bus.write(register, joint, value, normalize=False, num_retry=READ_RETRIES)

    def _let_go(self) -> None:
        close_port(self._bus)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    @contextlib.contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        self._clean.require()
        self._bus.port_handler.is_using = False  # only one thread is here: a set flag is a leftover
        with faults(what, self._port, _ADVICE):
            yield

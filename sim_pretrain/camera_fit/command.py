"""`hilserl setup camera-fit`: where the wrist camera sits and what it sees, from frames of a ChArUco board.

1. `hilserl setup camera-fit --board=board.png`; print it at 100 %, lay it flat in front of the arm.
2. `hilserl record --keep_native=true ...`: bring the board into sight, stop for half a second, drive on, many times.
3. `hilserl setup camera-fit --run=RUN`; look at the overlay that it writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from data.errors import UserError
from hilserl.flags import parse_flags
from sim_pretrain.camera_fit.config import CameraFitArgs

if TYPE_CHECKING:
    from pathlib import Path

    from data.schema import Episode
    from data.spec import CameraSpec, TaskSpec
    from data.store.reader import AnnotatedReader
    from sim_pretrain.camera_fit.charuco import Board


def main(argv: Sequence[str]) -> int:
    """Print a board, or fit the camera to a recording of it, or both."""
    args = parse_flags(CameraFitArgs, argv)
    if args.board is None and args.run is None:
        raise UserError(
            "nothing to do: neither --board nor --run was given.\nPrint a board: hilserl setup camera-fit "
            "--board=board.png; lay it in front of the arm, drive over it with hilserl record --keep_native=true, "
            "then: hilserl setup camera-fit --run=RUN"
        )
    from sim_pretrain.camera_fit.charuco import Board, print_board

    board = Board(args.squares_x, args.squares_y, args.square_m, args.marker_m, args.dictionary)
    if args.board is not None:
        width_m, height_m = print_board(board, args.board)
        print(
            f"{args.board}: {1000 * width_m:.0f} x {1000 * height_m:.0f} mm, of which the board is "
            f"{1000 * board.size_m[0]:.0f} x {1000 * board.size_m[1]:.0f} mm. Print it at actual size, check the ruler."
        )
    if args.run is not None:
        _fit(args, args.run, board)
    return 0


def _fit(args: CameraFitArgs, run: Path, board: Board) -> None:
    import draccus
    from scipy.spatial.transform import Rotation

    from data.images import crop_px
    from data.store.reader import open_reader
    from hilserl.runs import write_json
    from sim_pretrain.camera_fit.fit import fit_without_strays
    from sim_pretrain.camera_fit.frames import find_sightings
    from sim_pretrain.camera_fit.lens import nearest_pinhole
    from sim_pretrain.camera_fit.overlay import finger_visibility, write_overlay
    from sim_pretrain.camera_fit.report import fitted_fields, report, require_trustworthy
    from sim_pretrain.world.profile import WorldProfile, read_profile
    from sim_pretrain.world.scene import wrist_camera

    present = WorldProfile() if args.profile_json is None else read_profile(args.profile_json, WorldProfile)
    kept = {} if args.profile_json is None else json.loads(args.profile_json.read_text())
    reader = open_reader(run)
    camera = _camera(reader.spec, args.camera)
    found = find_sightings(_episodes(reader, args.episode), reader.spec, args.camera, board, args.frames)
    position, quaternion = wrist_camera(present)
    guess = position, Rotation.from_quat(quaternion, scalar_first=True).as_matrix(), present.wrist_fovy_deg
    fit, stay = fit_without_strays([s.view for s in found.chosen], board.corners_m, found.size_px, guess)
    found = found.only(stay)
    require_trustworthy(fit, found)
    pinhole = nearest_pinhole(fit.lens, crop_px((fit.lens.height_px, fit.lens.width_px), camera))
    fields = fitted_fields(fit, pinhole, present)
    fitted = draccus.decode(WorldProfile, kept | fields)
    visible = finger_visibility(fitted, fit, reader.spec, camera)
    lines = [f"Camera {args.camera!r} of {run}", *report(fit, pinhole, found, present, fitted, visible)]
    print("\n".join(lines))
    overlay, profile = args.output_dir / "overlay.png", args.output_dir / "profile.json"
    title = f"{run}: {fit.rms_px:.2f} px over {len(found.chosen)} frames, field of view {fitted.wrist_fovy_deg:.1f} deg"
    write_overlay(overlay, found.chosen[: max(1, args.overlays)], present, fitted, board, fit, title)
    (args.output_dir / "report.txt").write_text("\n".join(lines) + "\n")
    write_json(profile, kept | fields)
    print(
        f"\n{overlay}: look at it; edges of board, fingers and table should lie on each other.\n{profile}: use it with "
        f"hilserl pretrain --profile_json={profile}; to look around: hilserl rig --profile_json={profile}"
    )


def _camera(spec: TaskSpec, name: str) -> CameraSpec:
    for camera in spec.observation.cameras:
        if camera.name == name:
            return camera
    names = ", ".join(c.name for c in spec.observation.cameras)
    raise UserError(f"this recording has no camera {name!r}; accepted is one of: {names}. Say --camera=NAME")


def _episodes(reader: AnnotatedReader, which: str | None) -> Iterator[tuple[int, Episode]]:
    """Yield (index, episode) with native frames, one in memory at a time."""
    from tqdm import tqdm

    commits = reader.commits() if which is None else [reader.find(which)]
    for commit in tqdm(commits, desc="looking for the board", unit="episode", leave=False):
        yield commit.index, reader.read(commit, native=True)

"""Going back to an earlier checkpoint: it becomes the newest one, and nothing is deleted."""

from __future__ import annotations

from hilserl.runs import RunDirectory, find_checkpoint, load_checkpoint, load_info, numbered

SEEN = ("last_commit", "steps", "operated_episodes", "critic_trained", "actor_trained")  # how far the run has come


def roll_back(run: RunDirectory, which: str) -> str:
    """Save checkpoint `which` ("best" or a number) again as the newest one; return what was done, for people.

    Agent, optimisers and generators are the old ones. All episodes stay in the replay, and what they were owed counts
    as paid: the same updates on the same data would end where the run is now. The number of updates, which names
    versions of the policy, goes on rising.

    Raises:
        UserError: the run has no such checkpoint.
    """
    chosen = find_checkpoint(run.path, which)
    tensors, info = load_checkpoint(chosen)
    newest = load_info(run.path)
    version = newest["updates"] + 1  # the newest one's own number means other weights
    now = {name: newest[name] for name in SEEN if name in newest}
    now |= {"updates": version, "owed": float(version), "restored_at": version}
    folder = run.save_checkpoint(tensors, {**info, **now}, keep=len(numbered(run.checkpoints)) + 1)
    run.journal("rolled back", to=chosen.name, saved_as=folder.name, from_updates=newest["updates"], version=version)
    return (
        f"back to checkpoint {chosen.name} ({info['updates']} updates), saved as {folder.name}. "
        f"All {newest['operated_episodes']} operated episodes stay in the replay."
    )

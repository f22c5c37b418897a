"""Notes on an explanation: what is not in it, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from candid.explanation.attribution import METHODS
from candid.explanation.mapping import MapsJob, MethodMaps
from candid.explanation.sample import FEWEST
from candid.records.explanation import Method
from candid.text import notes as text


def make_notes(
    job: MapsJob,
    methods: Sequence[Method],
    maps: Mapping[str, MethodMaps],
    masking_note: str,
) -> Iterator[str]:
    """Notes for a reader; `masking_note` is that on masking."""
    config, total = job.attributor.config, len(job.sample)
    if "grad_cam" in config.methods and job.attributor.hook is None:
        yield text.NO_GRAD_CAM
    if job.regions is None:
        yield text.NO_REGIONS
    elif len(job.regions.masks) == 1:
        yield text.AVERAGE_REGIONS
    if not (job.sample.label >= 0).any():
        yield text.NOTHING_CLAIMED
    small = [s.about for s in job.sets if s.about.kind in ("class", "outcome") and s.too_few]
    if small:  # there are none of these kinds without labels
        yield text.few_to_differ([(s.title, s.n) for s in small], FEWEST)
    if not len(job.checked_rows):
        yield text.NOTHING_CHECKED
    if unknown := [name for name in config.groups if name not in job.sample.attributes]:
        yield text.no_such_attribute(unknown)
    fewer = [m for m in methods if m.n < total and not maps[m.name].cut]
    if failed := [m.title for m in fewer if m.state == "failed"]:
        yield text.failed_early(failed, len(job.checked_rows))
    for n in sorted({m.n for m in fewer if m.state != "failed"}):
        decided = [m.title for m in fewer if m.state != "failed" and m.n == n]
        yield text.decided_early(decided, n, total)
    if left_out := [*_left_out(job, methods, maps, masking_note)]:
        yield text.budget_used_up(config.budget, left_out)


def _left_out(
    job: MapsJob,
    methods: Sequence[Method],
    maps: Mapping[str, MethodMaps],
    masking_note: str,
) -> Iterator[str]:
    """What was left out for lack of time."""
    config, total = job.attributor.config, len(job.sample)
    if not job.is_over():
        return
    for name in config.methods:
        if name not in maps and (name != "grad_cam" or job.attributor.hook is not None):
            yield text.fewer_maps(METHODS[name].title, 0, total)
    if len(job.checked_rows) and not any(m.checks for m in methods):
        yield text.NO_CHECKS
    if masking_note:
        yield masking_note
    for method in methods:
        if maps[method.name].cut:
            yield text.fewer_maps(method.title, method.n, total)

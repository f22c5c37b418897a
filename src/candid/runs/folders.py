"""Folders in a run's folder for runs of its parts and variants."""

from __future__ import annotations

TARGETS = "targets"  # a folder for each of several labels
IMPROVED = "improve"  # a folder for each remedy that is a run
SEEDS = "seeds"  # a folder for each other seed
CHECKED = "check"  # a check's folder, of a run that examines its labels
FOLDS = "folds"  # of a check: what each of its networks answered

RUN_FOLDERS = (TARGETS, IMPROVED, SEEDS, CHECKED, FOLDS)

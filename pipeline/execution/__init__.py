"""Run one stage over shards: on threads, processes or a cluster, with resume, retries and progress.

`stage.py` says what a stage is and how it is run, `plan.py` which shard holds which items and which
of them are there already, `task.py` what a worker does with one shard, `cluster.py` who the workers
are, `progress.py` what the user sees, and `engine.py` puts them together.
"""

from pipeline.execution.engine import run_stage
from pipeline.execution.stage import ExecutionSettings, Item, Stage, StageReport

__all__ = ["ExecutionSettings", "Item", "Stage", "StageReport", "run_stage"]

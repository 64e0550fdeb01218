"""Run one stage over shards: on threads, processes or a cluster, with resume, retries and progress.

`stage.py` defines a stage and its execution settings, `plan.py` assigns items to shards and finds
the finished ones, `task.py` makes one shard in a worker, `cluster.py` starts workers or connects to
them, `progress.py` reports progress, and `engine.py` ties these together.
"""

from pipeline.execution.engine import run_stage
from pipeline.execution.stage import ExecutionSettings, Item, Stage, StageReport

__all__ = ["ExecutionSettings", "Item", "Stage", "StageReport", "run_stage"]

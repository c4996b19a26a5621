"""Quality of reads."""

from .scores import filter_reads, mean_quality, quality_env, trim_read

__all__ = ["filter_reads", "mean_quality", "quality_env", "trim_read"]

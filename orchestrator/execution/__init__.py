"""Running a pipeline: what must be done and why, stage by stage, and what is kept of each."""

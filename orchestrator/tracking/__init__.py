"""MLflow runs of a pipeline and its stages. Only the modules in this folder import `mlflow`.

This file runs before any of them, so MLflow finds its limits set when it is imported. Nothing heavy is imported here.
"""

import os

LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of 7 with back-off blocks a call for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a stray uv.lock in the working directory is none of a model's business
}

for name, value in LIMITS.items():
    os.environ.setdefault(name, value)

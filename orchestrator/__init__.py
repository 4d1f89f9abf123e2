"""Conducts: command line, pipeline files, stage graph, Ray, MLflow."""

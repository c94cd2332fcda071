"""Prefect flows: parameters, runners, retries, artifacts and events. What is rendered, and how, is gansynth's business."""

from flows import settings

settings.apply()  # Prefect reads its settings when it is first imported

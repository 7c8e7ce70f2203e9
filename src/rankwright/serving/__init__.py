"""The HTTP server: rerankers behind the interfaces of Cohere, Jina, TEI and vLLM."""

from __future__ import annotations

from rankwright.serving.app import create_app
from rankwright.serving.model import ExportedModel, ModelChoice, ServedModel, TorchModel, open_model
from rankwright.serving.settings import ServerSettings

__all__ = [
    "ExportedModel",
    "ModelChoice",
    "ServedModel",
    "ServerSettings",
    "TorchModel",
    "create_app",
    "open_model",
]

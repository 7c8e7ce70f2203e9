"""The HTTP server: rerankers behind the interfaces of Cohere, Jina, TEI and vLLM."""

from __future__ import annotations

from rankwright.serving.app import create_app
from rankwright.serving.model import ServedModel, TorchModel
from rankwright.serving.settings import ServerSettings

__all__ = ["ServedModel", "ServerSettings", "TorchModel", "create_app"]

"""How each family of encoders computes, told on the modules that transformers builds.

Each file reads the layers off a transformers model and runs them packed. Parameters are used
where they are, so training, saving and adapters see one and the same model.
"""

from __future__ import annotations

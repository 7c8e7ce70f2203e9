"""What trackers of a training tell the model card."""

from __future__ import annotations

import math
from typing import Any

from rankwright.model.card.facts import EmissionFacts

__all__ = ["measured_emissions", "note_emissions"]


def note_emissions(trainer: Any) -> None:
    """Hands what CodeCarbon measured to the model's card, if it was measured and there is one."""
    found = measured_emissions(trainer.callback_handler.callbacks)
    card: Any = getattr(trainer.model, "model_card_data", None)
    if found is not None and card is not None:
        card.emissions = found


def measured_emissions(callbacks: list[Any]) -> EmissionFacts | None:
    """The emissions of the training that has just ended.

    Args:
        callbacks: Those of the trainer. transformers' ``CodeCarbonCallback``, which
            ``report_to="codecarbon"`` adds, or any other with a CodeCarbon ``tracker``, be it the
            one that needs a network or ``OfflineEmissionsTracker``.

    Returns:
        None where nothing was measured, or the measurement failed.
    """
    for callback in callbacks:
        data = getattr(getattr(callback, "tracker", None), "final_emissions_data", None)
        emissions = None if data is None else _number(data.emissions)
        if data is None or emissions is None:
            continue
        seconds = _number(data.duration)
        return EmissionFacts(
            emissions=emissions,
            energy=_number(data.energy_consumed),
            hours=None if seconds is None else seconds / 3600,
            cpu=data.cpu_model or None,
            gpu=data.gpu_model or None,
            ram=_number(data.ram_total_size),
            on_cloud=data.on_cloud == "Y",
        )
    return None


def _number(value: Any) -> float | None:
    """A finite number, or None: CodeCarbon leaves out what it could not read."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

"""What every part of a fleet file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the fleet file: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

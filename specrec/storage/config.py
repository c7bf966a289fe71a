"""How object storage is reached."""

from __future__ import annotations

from pydantic import Field

from specrec.settings import PositiveFloat, PositiveInt, Section


class StorageConfig(Section):
    """How object storage is reached. Credentials come from the environment, never from here."""

    endpoint_url: str | None = Field(default=None, description="an S3-compatible server; null: AWS")
    region: str = Field(default="us-east-1", description="region of the buckets")
    path_style: bool = Field(default=False, description="true for most S3-compatible servers")
    max_attempts: PositiveInt = Field(default=5, description="tries of one request before it is a storage_error")
    deadline_seconds: PositiveFloat = Field(
        default=120.0, description="time for one file, all tries together, before it is a storage_error"
    )

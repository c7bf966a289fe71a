"""How object storage is reached, and which links on a disk are followed."""

from __future__ import annotations

from pydantic import Field

from specrec.settings import PositiveFloat, PositiveInt, Section


class StorageConfig(Section):
    """How object storage is reached, and links on a disk. Credentials come from the environment, never from here.

    Examples
    --------
    >>> StorageConfig(endpoint_url="http://127.0.0.1:9000", path_style=True).region
    'us-east-1'
    """

    endpoint_url: str | None = Field(default=None, description="URL of an S3-compatible server; null: AWS")
    region: str = Field(default="us-east-1", description="region of the buckets")
    path_style: bool = Field(
        default=False,
        description="whether the bucket is named in the path of a URL and not in its host, as most "
        "S3-compatible servers need it",
    )
    max_attempts: PositiveInt = Field(
        default=5, description="how often one request is tried before it counts as a storage_error"
    )
    deadline_seconds: PositiveFloat = Field(
        default=120.0, description="seconds for one file, all tries together, before it counts as a storage_error"
    )
    follow_links_out: bool = Field(
        default=False,
        description="whether a link on disk that leads out of the folder of the audio is followed, as to an album "
        "on another disk; false: what it leads to is not read, with the code forbidden_path",
    )

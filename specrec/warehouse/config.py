"""How the tables' files are kept in order."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specrec.settings import PositiveInt, Section

#: For so many days a table's log says which files were its own and are no more: Delta's own seven would be too few,
#: as what the log has forgotten is deleted at once.
MOST_KEEP_DAYS = 30


class MaintainConfig(Section):
    """How the tables' files are kept in order, so that they stay fast to read. Nothing here changes a row.

    Examples
    --------
    >>> MaintainConfig(files_a_list=5).differing()
    {'files_a_list': 5}
    """

    files_a_list: PositiveInt = Field(
        default=2,
        description="a night puts a part of a table that is sorted, such as a system's recommendations, in order "
        "when one track's list may lie in more files",
    )
    small_files: Annotated[int, Field(ge=2)] = Field(
        default=100, description="a night puts a table's small files together when a part of it has more of them"
    )
    file_mb: PositiveInt = Field(
        default=128, description="size of a file, about; what is smaller than a quarter of it is a small file"
    )
    rows_a_group: Annotated[int, Field(ge=100)] = Field(
        default=20_000, description="rows that are read at once, at least, for one list: a row group of a file"
    )
    keep_days: Annotated[float, Field(gt=0, le=MOST_KEEP_DAYS)] = Field(
        default=14,
        description="days that files are kept which a table no longer needs, for readers of an older version and "
        "for `specrec rollback`",
    )
    follower_days: Annotated[float, Field(gt=0)] = Field(
        default=7,
        description="days that a follower of the change feed may be behind: files are kept at least as long",
    )

    @property
    def file_bytes(self) -> int:
        """Size of a file, about."""
        return self.file_mb << 20

"""What a system's lists were made from, and whether they can be brought up to date or are made as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from specrec.settings import SettingsHash


@dataclass(frozen=True)
class Basis:
    """What the lists of a system were made from; the table ``recommendations`` remembers it with its commit.

    Attributes
    ----------
    made_of : str
        Names the settings, the artefact that excerpts were made with, the tracks and the neighbours:
        see :func:`made_of`.
    statistics : int or None
        Version of ``catalogue_statistics`` that the explanations are true of. None: an older release did not say.
    inputs : int or None
        Version of the table ``list_inputs`` that holds what each list was made from.
    run_id : str
        The run that wrote that version.
    """

    made_of: str
    statistics: int | None = None
    inputs: int | None = None
    run_id: str = ""

    def __str__(self) -> str:
        if self.statistics is None or self.inputs is None:
            return self.made_of
        return f"{self.made_of}|{self.statistics}|{self.inputs}|{self.run_id}"

    @classmethod
    def read(cls, text: str) -> Basis:
        """Return what :class:`str` made a text of.

        Examples
        --------
        >>> Basis.read(str(Basis("ab:1:3:4:5", 2, 7, "r"))) == Basis("ab:1:3:4:5", 2, 7, "r")
        True
        >>> Basis.read("ab:1:3:4:5")  # of an older release
        Basis(made_of='ab:1:3:4:5', statistics=None, inputs=None, run_id='')
        """
        made_of, *rest = text.split("|")
        if len(rest) != 3 or not (rest[0].isdigit() and rest[1].isdigit()):
            return cls(made_of)
        return cls(made_of, int(rest[0]), int(rest[1]), rest[2])


def made_of(settings: str, excerpts: int, tracks: str, neighbours: str | None) -> str:
    """Return what lists depend on, as one text.

    Parameters
    ----------
    settings : str
        Hash of the settings that lists depend on.
    excerpts : int
        Version of the artefact that the excerpts were made with.
    tracks, neighbours : str
        The states of what is read of the tracks, and of the neighbours.
    """
    return f"{settings}:{excerpts}:{tracks}:{neighbours}"


def why_make_all(
    before: Basis | None, *, settings: SettingsHash, excerpts: int, statistics: int, is_small: bool = False
) -> str | None:
    """Return why the lists of a system are made as a whole; None if what changed in them is enough.

    Parameters
    ----------
    before : Basis or None
        Of the lists that stand; None if there are none.
    settings : SettingsHash
        Of the settings that the lists to be made depend on.
    excerpts, statistics : int
        The versions that are in use now.
    is_small : bool
        Whether the catalogue has fewer tracks than ``recommend.update_from``.

    Examples
    --------
    >>> from specrec.settings import settings_hash
    >>> settings = settings_hash("these")
    >>> before = Basis(made_of(str(settings), 1, "24:7:8", "24:9:9"), statistics=2, inputs=5, run_id="r")
    >>> why_make_all(before, settings=settings, excerpts=1, statistics=2)
    >>> why_make_all(before, settings=settings, excerpts=1, statistics=3)
    'the catalogue is another than sentences were measured by'
    """
    if before is None or not before.made_of:
        return "first"
    was, excerpts_were, *_ = before.made_of.split(":")
    if was not in settings.accepted:
        return "settings"
    if excerpts_were != str(excerpts):
        return "excerpts were made anew"
    if before.statistics is None:
        return "not known from what they were made"
    if before.statistics != statistics:
        return "the catalogue is another than sentences were measured by"
    return "few tracks" if is_small else None

"""The numbers that stages tell of themselves: what each is called, what it means, and how it is said to people.

A number is recorded once, by :meth:`~specrec.pipeline.run.StageReport.count`. The table ``run_metrics`` holds it as
a number, and ``details`` in ``runs`` says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that a stage may tell of itself.

    Attributes
    ----------
    meaning : str
        What it is, in one sentence.
    of : str
        What its parts are, such as spaces; empty: it is of the stage as a whole.
    words : str
        How it is said beside the name of its part.
    """

    meaning: str
    of: str = ""
    words: str = "{value}"


#: Every metric that ``run_metrics`` may hold, by name.
RUN_METRICS: dict[str, Metric] = {
    # of every stage
    "seconds": Metric("The wall-clock time that the stage took."),
    "rows_in": Metric("How many rows the stage had to deal with."),
    "rows_out": Metric("How many rows it wrote."),
    "rows_failed": Metric("How many rows went to quarantine."),
    "rows": Metric("How many rows a part has that was written anew.", "spaces, systems or tables", "{value} rows"),
    # ingest
    "added": Metric("How many tracks the catalogue has that it did not have before."),
    "changed": Metric("How many tracks have another row than before."),
    "removed": Metric("How many tracks that were there before are gone."),
    "lost_audio": Metric("How many tracks had audio before, and have none now."),
    "repeated_rows": Metric("How many rows of the catalogue name a track that another row names, too."),
    "chosen_tracks": Metric("How many tracks --tracks named, where the run was about some only."),
    "unread_values": Metric("How many values of the catalogue could not be read.", "columns", "{value} {part}"),
    "quarantined": Metric("How much is in quarantine by now, by why.", "codes", "{value} {part}"),
    "left_out": Metric("How many files of a folder were left out on purpose.", "kinds", "{value} {part}"),
    # extract
    "decoded": Metric("How many files were decoded."),
    "same_content": Metric("How many files were read, and held what was analysed before."),
    "failed_share": Metric(
        "The share of the catalogue's audio files that failed since a night last told it.", words="{value:.4g}"
    ),
    # listen
    "files_read": Metric("How many files of events are new or changed, and were read."),
    "events_new": Metric("How many events were taken in."),
    "events_known": Metric("How many of the events that were read had been taken in before."),
    "events_refused": Metric("How many of the events that were read were refused.", "codes", "{value} {part}"),
    "people_due": Metric("How many people's lists were made anew."),
    "people_removed": Metric("How many people are gone of whom something was known."),
    "people_without_list": Metric(
        "How many people have no list: they know all that could be recommended, or nothing speaks for a track."
    ),
    "tracks_changed": Metric("How many tracks are new or gone, or something else is to be said of them."),
    "weight": Metric(
        "What a component of people's scores counts, where so much is known.", "components and levels"
    ),
    "people_changed": Metric("How many people's preferences were made anew."),
    "preferences_written": Metric("How many preferences are new, or other than before."),
    "preferences_gone": Metric("How many preferences are no longer there."),
    # forget
    "people_forgotten": Metric("How many people were forgotten."),
    "rows_deleted": Metric("How many rows of these people were deleted.", "tables", "{value} rows deleted"),
    # fit, and what else is fitted
    "drift": Metric("How far the catalogue is from what the scaler was fitted to.", words="{value:.4f}"),
    "artefact_version": Metric("The version of an artefact that is in use.", "artefacts", "version {value}"),
    # embed
    "explained": Metric(
        "The share of what tracks' factors differ by that sound and artist tell, as cross-validation has it.",
        "artefacts",
        "{value:.2f} of what factors differ by is told by sound and artist",
    ),
    "vectors": Metric("How many vectors were computed.", "spaces"),
    # neighbours
    "tracks_new": Metric("How many tracks no list knew yet.", "spaces"),
    "tracks_stale": Metric("How many tracks lost a neighbour, and were searched anew.", "spaces"),
    "searched_whole": Metric("1 if the space was searched as a whole, 0 if it was updated.", "spaces"),
    "cells": Metric("How many cells the space is divided into.", "spaces"),
    "cells_version": Metric("The version of the artefact that holds the cells.", "spaces"),
    "probes": Metric("With how many cells a track is compared.", "spaces"),
    "recall": Metric("The recall of the lists on a sample, against comparing with all tracks.", "spaces"),
    "recall_margin": Metric("Half the width of the 95 % confidence interval of the recall.", "spaces"),
    "recall_tracks": Metric("How many tracks the recall was measured on.", "spaces"),
    # duplicates
    "pairs_compared": Metric("How many pairs of tracks were compared by their spectrograms."),
    "pairs_same": Metric("How many of the pairs are one recording."),
    "groups": Metric("How many groups of tracks are one recording."),
    # recommend
    "lists_not_full": Metric(
        "How many lists are shorter than recommend.top_n, or, of people, of those made anew, than listeners.top_n.",
        "systems",
        "{value} lists not full",
    ),
    "statistics_shift": Metric(
        "By how many percentage points, at most, shares of tracks differ from what sentences are measured by.",
        words="{value:.2f}",
    ),
    "lists_chosen": Metric(
        "How many lists were chosen anew, those of systems that were made as a whole aside.", "systems"
    ),
    "rows_told": Metric("How many rows are new in these lists, or were explained anew.", "systems"),
    "rows_moved": Metric("How many rows of these lists changed in rank or affinity alone.", "systems"),
    "rows_gone": Metric("How many rows are no longer in these lists.", "systems"),
    # map
    "clusters": Metric("How many clusters the map has."),
    "silhouette": Metric(
        "How well the clusters of a map that was fitted anew stand apart, -1 to 1.", words="{value:.3g}"
    ),
    # training
    "table_version": Metric("The version of a table that was read.", "tables"),
    "epochs": Metric("For how many epochs the encoder was trained."),
    "kept_epoch": Metric("The epoch whose encoder was kept."),
    # the account of a night: each track of the catalogue is in one of these
    "catalogue": Metric("How many tracks the catalogue has, which is the sum of all that the account names."),
    "with_list": Metric("How many tracks have a list."),
    "without_audio": Metric("How many tracks have no list since the catalogue names no audio file of theirs."),
    "refused": Metric("How many tracks have no list since the catalogue's row names audio that cannot be read."),
    "in_quarantine": Metric("How many tracks have no list since they are in quarantine."),
    "alone": Metric("How many tracks have no list since no other track can be compared with them."),
    "all_left_out": Metric("How many tracks have no list since all neighbours are kept out."),
    "unaccounted": Metric("How many tracks have no list, and nothing says why."),
}

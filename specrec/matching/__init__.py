"""Matching: which records of two catalogues name the same recording, and by what evidence.

A record is read (:mod:`~specrec.matching.records`), pairs are proposed (:mod:`~specrec.matching.blocking`),
compared (:mod:`~specrec.matching.comparisons`) and decided (:mod:`~specrec.matching.decisions`). Each is a
function of arrays, so that a few thousand records in one process and blocks of millions are matched by the same
code.
"""

"""Every table's schema, declared once. The comments reach the Delta tables.

The table names, keys and columns are a contract with those who read them; a column is added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

from specrec.audio.measures import TABLE_COLUMNS
from specrec.warehouse.config import MOST_KEEP_DAYS


def _field(name: str, kind: T.DataType, comment: str, nullable: bool = True) -> T.StructField:
    return T.StructField(name, kind, nullable, {"comment": comment})


_TEXT, _INT, _LONG, _DOUBLE, _FLOAT = (
    T.StringType(),
    T.IntegerType(),
    T.LongType(),
    T.DoubleType(),
    T.FloatType(),
)
_BOOL, _TIME, _BYTES = T.BooleanType(), T.TimestampType(), T.BinaryType()
_FLOATS = T.ArrayType(T.FloatType())
_TEXTS = T.MapType(T.StringType(), T.StringType())

_TRACK_ID = _field("track_id", _TEXT, "the catalogue's own name of the track", nullable=False)
_RUN_ID = _field("run_id", _TEXT, "the run that wrote this row", nullable=False)
_COMPUTED_AT = _field("computed_at", _TIME, "when this row was computed (UTC)", nullable=False)
_EXPLANATION_ID = _field(
    "explanation_id",
    _TEXT,
    "names the explanation in events of kind clear and trust (specrec.warehouse.explained); null: of before there "
    "were names",
)
_AUDIO_HASH = _field("audio_hash", _TEXT, "the audio configuration that this was made with")
_CONTENT_HASH = _field("content_hash", _TEXT, "SHA-256 of the file's bytes")

#: Columns of the Spotify catalogue that describe a track; a source may lack any of them.
TRACK_ATTRIBUTES = T.StructType(
    [
        _field("artists", _TEXT, "artists, separated by semicolons"),
        _field("album_name", _TEXT, "album"),
        _field("track_name", _TEXT, "title"),
        _field("popularity", _INT, "0 to 100, by the catalogue"),
        _field("duration_ms", _LONG, "length of the whole track in ms, by the catalogue"),
        _field("explicit", _BOOL, "has explicit lyrics, by the catalogue"),
        _field("danceability", _DOUBLE, "0 to 1, by the catalogue"),
        _field("energy", _DOUBLE, "0 to 1, by the catalogue"),
        _field("key", _INT, "pitch class 0 (C) to 11 (B), by the catalogue"),
        _field("loudness", _DOUBLE, "dB of full scale, by the catalogue"),
        _field("mode", _INT, "1 major, 0 minor, by the catalogue"),
        _field("speechiness", _DOUBLE, "0 to 1, by the catalogue"),
        _field("acousticness", _DOUBLE, "0 to 1, by the catalogue"),
        _field("instrumentalness", _DOUBLE, "0 to 1, by the catalogue"),
        _field("liveness", _DOUBLE, "0 to 1, by the catalogue"),
        _field("valence", _DOUBLE, "0 (sad) to 1 (happy), by the catalogue"),
        _field("tempo", _DOUBLE, "BPM, by the catalogue"),
        _field("time_signature", _INT, "beats in a bar, by the catalogue"),
        _field("track_genre", _TEXT, "genre, by the catalogue"),
    ]
)

TRACKS = T.StructType(
    [
        _TRACK_ID,
        *TRACK_ATTRIBUTES.fields,
        _field("extra", _TEXTS, "the source's other columns, as text"),
        _field("audio", _TEXT, "where the audio lies, as the catalogue says it"),
        _field("audio_uri", _TEXT, "the same, resolved under catalogue.audio_root"),
        _field("audio_fingerprint", _TEXT, "ETag, or size and times (modification, change); null: no such file"),
        _field("audio_bytes", _LONG, "size of the file"),
        _field("has_audio", _BOOL, "whether the store holds the audio", nullable=False),
        _field("row_hash", _TEXT, "hash of all columns above, to tell changed rows", nullable=False),
        _RUN_ID,
        _field("updated_at", _TIME, "when this row last changed (UTC)", nullable=False),
    ]
)


_KINDS: dict[str, T.DataType] = {"float": _FLOAT, "int": _INT, "array<float>": _FLOATS}

AUDIO_FEATURES = T.StructType(
    [
        _TRACK_ID,
        _field("audio_uri", _TEXT, "the file that was analysed"),
        _field("audio_fingerprint", _TEXT, "its ETag, or its size and times (modification, change)"),
        _CONTENT_HASH,
        _AUDIO_HASH,
        _field("decoder", _TEXT, "the library and version that decoded it"),
        _field("sample_rate", _INT, "Hz, analysed at"),
        _field("seconds", _DOUBLE, "length of the analysed clip"),
        *(_field(column.name, _KINDS[column.kind], column.comment) for column in TABLE_COLUMNS),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

MEL_SPECTROGRAMS = T.StructType(
    [
        _TRACK_ID,
        _field("mel", _BYTES, "mel spectrogram in dB, coded by specrec.audio.mel.encode_mel"),
        _field("n_mels", _INT, "mel bands"),
        _field("n_frames", _INT, "STFT frames"),
        _field("sample_rate", _INT, "Hz"),
        _field("hop_length", _INT, "samples between frames"),
        _CONTENT_HASH,
        _AUDIO_HASH,
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

QUARANTINE = T.StructType(
    [
        _TRACK_ID,
        _field(
            "stage",
            _TEXT,
            "what failed: ingest, extract, embed/MODEL or neighbours/SPACE",
            nullable=False,
        ),
        _field("audio_uri", _TEXT, "the file, or what the catalogue says of it"),
        _field("code", _TEXT, "stable error code (specrec.errors.TRACK_ERROR_CODES)", nullable=False),
        _field("message", _TEXT, "what happened and what can be done"),
        _field("decoder", _TEXT, "versions of the decoders that were tried, and their limits"),
        _field("audio_fingerprint", _TEXT, "of the file that failed; a changed one is tried again"),
        _field("audio_hash", _TEXT, "the audio configuration that was tried"),
        _field("attempts", _INT, "how often it failed", nullable=False),
        _field("first_seen", _TIME, "first failure (UTC)", nullable=False),
        _field("last_seen", _TIME, "latest failure (UTC)", nullable=False),
        _RUN_ID,
    ]
)

TAG = T.StructType(
    [
        _field("name", _TEXT, "what the model calls it"),
        _field("score", _FLOAT, "its probability, by the model"),
    ]
)

EMBEDDINGS = T.StructType(
    [
        _field(
            "space",
            _TEXT,
            "features, spectrogram, a model of embedding.models, listeners, or hybrid",
            nullable=False,
        ),
        _TRACK_ID,
        _field("vector", _FLOATS, "the embedding; cosine similarity is its measure", nullable=False),
        _field("parts", _FLOATS, "spectrogram only: the share of each frequency region, region after region"),
        _field("levels", _FLOATS, "spectrogram only: level of each frequency region, dB against the track's mean"),
        _field("excerpts", _BYTES, "spectrogram only: excerpts, coded by specrec.embedding.excerpts.encode"),
        _field("tags", T.ArrayType(TAG), "models that name tags only: the most probable, the first first"),
        _field("input_hash", _TEXT, "hash of the audio, the configuration and the artefact", nullable=False),
        _field("artefact_version", _INT, "version of the artefact that made it"),
        _field("model_hash", _TEXT, "SHA-256 of the model that made it"),
        _field(
            "predicted",
            _BOOL,
            "listeners only: nobody was known to like the track at the last fit, and its vector is predicted",
        ),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

NEIGHBOURS = T.StructType(
    [
        _field(
            "space",
            _TEXT,
            "features, spectrogram, a model of embedding.models, listeners, or hybrid",
            nullable=False,
        ),
        _TRACK_ID,
        _field("rank", _INT, "1 is the nearest; no gaps", nullable=False),
        _field("neighbour_id", _TEXT, "the neighbour's track_id", nullable=False),
        _field("cosine", _DOUBLE, "cosine similarity, -1 to 1", nullable=False),
        _field("euclidean", _DOUBLE, "Euclidean distance of the same two vectors", nullable=False),
        _field("input_hash", _TEXT, "which vector of the track was searched: its embeddings.input_hash"),
        _field("config_hash", _TEXT, "the configuration that this row depends on"),
        _RUN_ID,
    ]
)

DUPLICATES = T.StructType(
    [
        _TRACK_ID,
        _field("group_id", _TEXT, "the least track_id of the tracks that are this recording", nullable=False),
        _field(
            "matched_track_id", _TEXT, "the track of the group that it was found to be the same as", nullable=False
        ),
        _field("same_bytes", _BOOL, "the files of these two are equal, byte by byte", nullable=False),
        _field("similarity", _DOUBLE, "correlation of their spectrograms, -1 to 1; null: equal files need none"),
        _field(
            "repetition",
            _DOUBLE,
            "the same of either clip and itself, moments later; similarity is above it by 0.03 or more",
        ),
        _field("lag_seconds", _DOUBLE, "how much later the same moment comes in this track's clip"),
        _field("same_title", _BOOL, "title and artist of both agree, after cleaning; null: one has none"),
        _RUN_ID,
    ]
)

COMPARED_PAIRS = T.StructType(
    [
        _field("a", _TEXT, "the lesser track_id of the two", nullable=False),
        _field("b", _TEXT, "the greater", nullable=False),
        _field("a_content_hash", _TEXT, "SHA-256 of the bytes of a's file, as it was compared", nullable=False),
        _field("b_content_hash", _TEXT, "SHA-256 of the bytes of b's file", nullable=False),
        _field("similarity", _DOUBLE, "correlation of their spectrograms, -1 to 1; null: of unlike sample rates"),
        _field("repetition", _DOUBLE, "the same of either clip and itself, moments later, the greater of the two"),
        _field("lag_seconds", _DOUBLE, "how much later the same moment comes in a's clip"),
        _field("config_hash", _TEXT, "the configuration that this row depends on", nullable=False),
        _RUN_ID,
    ]
)

TO_CONNECT = T.StructType(
    [
        _TRACK_ID,
        _field("group_id", _TEXT, "a lesser track that it is connected with, at last the least", nullable=False),
    ]
)

REASON = T.StructType(
    [
        _field("family", _TEXT, "family of features, or region of the spectrum"),
        _field("feature", _TEXT, "the measure that the values are of"),
        _field("contribution", _DOUBLE, "its part of the score; the parts add up to the score"),
        _field("track_value", _DOUBLE, "that measure of the track"),
        _field("recommended_value", _DOUBLE, "that measure of the recommended track"),
        _field("statement", _TEXT, "the same in words"),
    ]
)

TO_EXTRACT = T.StructType(
    [
        _field("audio_uri", _TEXT, "the file", nullable=False),
        _field("audio_fingerprint", _TEXT, "tells that the file changed"),
        _field("track_ids", T.ArrayType(T.StringType()), "the tracks that it is the audio of", nullable=False),
        _field("portion", _INT, "0, 1, …: what is committed at once", nullable=False),
        _field("content_hash", _TEXT, "SHA-256 of what was analysed before, where the file may still hold it"),
    ]
)

RECOMMENDATIONS = T.StructType(
    [
        _field(
            "system",
            _TEXT,
            "features, spectrogram, a model's name, listeners, or hybrid; services use hybrid",
            nullable=False,
        ),
        _TRACK_ID,
        _field("rank", _INT, "1 is the best; no gaps", nullable=False),
        _field("recommended_track_id", _TEXT, "the recommended track", nullable=False),
        _field("score", _DOUBLE, "similarity, -1 to 1", nullable=False),
        _field("affinity", _DOUBLE, "what ranks go by; in which unit depends on recommend.hubs"),
        _field("explanation", _TEXT, "one sentence for a listener", nullable=False),
        _field("reasons", T.ArrayType(REASON), "the parts of the score, greatest first", nullable=False),
        _field("track_seconds", _DOUBLE, "where in the track's file the best-matching excerpt starts"),
        _field("recommended_seconds", _DOUBLE, "where in the recommended track's file it starts"),
        _field("statistics_version", _INT, "version of catalogue_statistics that the explanation is true of"),
        _EXPLANATION_ID,
        _field("config_hash", _TEXT, "the configuration that this row depends on"),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

TRACK_LISTENERS = T.StructType(
    [
        _TRACK_ID,
        _field("listeners", _LONG, "how many people's opinion of it is known", nullable=False),
        _field("liked", _LONG, "how many of them like it", nullable=False),
        _field("disliked", _LONG, "how many of them do not", nullable=False),
        _field(
            "popularity",
            _DOUBLE,
            "logarithm of how many people are believed to know it, against the mean of all tracks",
            nullable=False,
        ),
        _field(
            "average",
            _DOUBLE,
            "logarithm of how much these are believed to like it, against the mean of all tracks",
            nullable=False,
        ),
        _field("als", _FLOATS, "its factors by alternating least squares; null: nobody likes or dislikes it"),
        _field("evidence_for", _LONG, "what the preferences above 0 for it weigh together, in thousandths"),
        _field("evidence_against", _LONG, "what those below 0 weigh together, in thousandths"),
        _field("version", _INT, "version of the artefact `listeners` that it belongs to", nullable=False),
        _RUN_ID,
    ]
)

ALSO_LIKED = T.StructType(
    [
        _TRACK_ID,
        _field("rank", _INT, "1 is the most similar; no gaps", nullable=False),
        _field("other_id", _TEXT, "track_id of a track that the same people like", nullable=False),
        _field(
            "similarity",
            _DOUBLE,
            "cosine of what likes of the two weigh, shrunk where few like both, 0 to 1",
            nullable=False,
        ),
        _field("both", _LONG, "how many people like both, of each person's 200 strongest likes", nullable=False),
        _field("liked", _LONG, "how many people like the other, counted likewise", nullable=False),
        _field("version", _INT, "version of the artefact `listeners` that it belongs to", nullable=False),
        _RUN_ID,
    ]
)

CROWD = T.StructType(
    [
        _field("user_id", _TEXT, "somebody whom others are compared with, chosen by lot", nullable=False),
        _field("track_id", _TEXT, "what this person likes: no more than the 200 strongest likes", nullable=False),
        _field("version", _INT, "version of the artefact `listeners` that it belongs to", nullable=False),
        _RUN_ID,
    ]
)

USER_RECOMMENDATIONS = T.StructType(
    [
        _field(
            "system",
            _TEXT,
            "als, content, popularity, average, item_based, user_based or hybrid; services use hybrid",
            nullable=False,
        ),
        _field("user_id", _TEXT, "the person; empty: whoever nothing is known of", nullable=False),
        _field("rank", _INT, "1 is the best; no gaps", nullable=False),
        _TRACK_ID,
        _field("score", _DOUBLE, "what ranks go by: the sum of the reasons' contributions", nullable=False),
        _field("explanation", _TEXT, "one sentence for the person", nullable=False),
        _field("reasons", T.ArrayType(REASON), "the parts of the score, greatest first", nullable=False),
        _field(
            "level",
            _INT,
            "how much is known of the person: 0 nothing, 1 little (listeners.few_preferences), 2 much",
            nullable=False,
        ),
        _EXPLANATION_ID,
        _field("input_hash", _TEXT, "what the person's lists were made from, in short", nullable=False),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

TOLD_TRACKS = T.StructType(
    [
        _TRACK_ID,
        _field(
            "words",
            _LONG,
            "code of what people's lists depend on, and say, of the track: its vector, title, attributes, and "
            "beside which others it is recommended",
            nullable=False,
        ),
        _RUN_ID,
    ]
)

PEOPLE_WITHOUT_LIST = T.StructType(
    [
        _field(
            "user_id",
            _TEXT,
            "somebody who knows all that might be recommended, or for whom nothing speaks for a track",
            nullable=False,
        ),
        _field("input_hash", _TEXT, "what the lists would have been made from, in short", nullable=False),
        _RUN_ID,
    ]
)

LIST_INPUTS = T.StructType(
    [
        _field("system", _TEXT, "whose list it is of, as in recommendations", nullable=False),
        _TRACK_ID,
        _field("mean", _DOUBLE, "mean cosine of the track's nearest, copies left out, that lists rank by"),
        _field("std", _DOUBLE, "standard deviation of the same"),
        _field("candidates", _LONG, "code of the track's rows of neighbours"),
        _field("choice", _LONG, "code of what decides beside which others the track is recommended"),
        _field("words", _LONG, "code of what explanations say of the track"),
        _field("is_listed_anew", _BOOL, "whether the track's own list may have changed in that run"),
        _field("is_judged_anew", _BOOL, "whether lists of which it is a candidate may have"),
        _field("is_told_anew", _BOOL, "whether what is said of it in explanations has"),
        _RUN_ID,
    ]
)

AGREEMENT = T.StructType(
    [
        _TRACK_ID,
        _field("jaccard", _DOUBLE, "share of the tracks in either list that are in both, 0 to 1", nullable=False),
        _field(
            "rank_biased_overlap",
            _DOUBLE,
            "rank-biased overlap of the two lists, extrapolated, 0 to 1",
            nullable=False,
        ),
        _field("in_both", _INT, "how many tracks are in both lists", nullable=False),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

MAP = T.StructType(
    [
        _TRACK_ID,
        _field("space", _TEXT, "the space whose vectors are drawn: map.space", nullable=False),
        _field(
            "pca_x", _FLOAT, "first principal component; null, as all that follows: the vector has no direction"
        ),
        _field("pca_y", _FLOAT, "second principal component"),
        _field("umap_x", _FLOAT, "by UMAP; null: fitted on fewer than ten different vectors"),
        _field("umap_y", _FLOAT, "by UMAP"),
        _field("tsne_x", _FLOAT, "by t-SNE; null: likewise, or fitted with more than map.tsne_up_to tracks"),
        _field("tsne_y", _FLOAT, "by t-SNE"),
        _field("cluster", _INT, "the cluster's number, which it keeps"),
        _field("cluster_name", _TEXT, "what most of its tracks are, against the catalogue's, when it was found"),
        _field("cluster_distance", _FLOAT, "distance from the cluster's centre on the map, in the map's units"),
        _field("input_hash", _TEXT, "hash of the vector's input_hash and the version of the map", nullable=False),
        _RUN_ID,
        _COMPUTED_AT,
    ]
)

_USER_ID = _field("user_id", _TEXT, "who did it: the source's id, or with listeners.hash_users a keyed hash of it")

EVENTS = T.StructType(
    [
        _field("event_id", _TEXT, "hash of all that the event says: what comes twice is one", nullable=False),
        _field("user_id", _TEXT, _USER_ID.metadata["comment"], nullable=False),
        _TRACK_ID,
        _field(
            "kind", _TEXT, "rating, like, dislike, play, skip, save; of a reason clear or trust", nullable=False
        ),
        _field("value", _DOUBLE, "of a rating: how good, by listeners.rating_scale; of clear and trust: 1 to 5"),
        _field("listened_ms", _LONG, "for how long it was heard, in ms; null: the source does not say"),
        _field("ts", _TIME, "when it was, of a play when it began (UTC)", nullable=False),
        _field("session_id", _TEXT, "what was done in one go, by the source"),
        _field("explanation_id", _TEXT, "of clear and trust: the explanation that is judged"),
        _RUN_ID,
    ]
)

REFUSED_EVENTS = T.StructType(
    [
        _field("uri", _TEXT, "the file that it stands in", nullable=False),
        _field("event_id", _TEXT, "as in events", nullable=False),
        _field("code", _TEXT, "stable code (specrec.events.rules.EVENT_CODES)", nullable=False),
        _field("message", _TEXT, "what is wrong with it, and what cannot be read"),
        _USER_ID,
        _field("track_id", _TEXT, "the track, as the source names it"),
        _field("kind", _TEXT, "as the source names it"),
        _field("value", _DOUBLE, "as in events"),
        _field("listened_ms", _LONG, "as in events"),
        _field("ts", _TIME, "as in events"),
        _field("session_id", _TEXT, "as in events"),
        _field("said", _TEXT, "what cannot be read, as it is written"),
        _field("explanation_id", _TEXT, "as in events"),
        _RUN_ID,
    ]
)

EVENT_FILES = T.StructType(
    [
        _field("uri", _TEXT, "the file", nullable=False),
        _field("fingerprint", _TEXT, "tells that it changed, and is to be read again", nullable=False),
        _field("rows", _LONG, "rows that it has", nullable=False),
        _field("accepted", _LONG, "of these, how many were taken in", nullable=False),
        _field("known", _LONG, "how many had been taken in before", nullable=False),
        _field("refused", _LONG, "how many are in refused_events", nullable=False),
        _RUN_ID,
        _field("read_at", _TIME, "when it was read (UTC)", nullable=False),
    ]
)

PREFERENCES = T.StructType(
    [
        _field("user_id", _TEXT, "as in events", nullable=False),
        _TRACK_ID,
        _field("preference", _DOUBLE, "-1 (disliked) to 1 (liked): the mean of what events say", nullable=False),
        _field("confidence", _DOUBLE, "what these events weigh together, by listeners.*_weight", nullable=False),
        _field("ratings", _INT, "how often the person rated the track", nullable=False),
        _field("likes", _INT, "how often the person liked it", nullable=False),
        _field("dislikes", _INT, "how often disliked it", nullable=False),
        _field("plays", _INT, "how often played it", nullable=False),
        _field("skips", _INT, "how often skipped it", nullable=False),
        _field("saves", _INT, "how often saved it", nullable=False),
        _field("last_seen", _TIME, "the newest of these events (UTC)", nullable=False),
        _RUN_ID,
    ]
)

FORGOTTEN = T.StructType(
    [
        _field("user_hash", _TEXT, "hash of the user_id of somebody whose events are refused", nullable=False),
        _field("forgotten_at", _TIME, "when `specrec forget` was asked to (UTC)", nullable=False),
        _RUN_ID,
    ]
)

ARTEFACTS = T.StructType(
    [
        _field(
            "name",
            _TEXT,
            "features_scaler, spectrogram_pca, listeners, listeners_prediction, listeners_blend, "
            "catalogue_statistics, map or SPACE_cells",
            nullable=False,
        ),
        _field("version", _INT, "1, 2, …; the newest of a configuration is in use", nullable=False),
        _field("config_hash", _TEXT, "the configuration that it belongs to", nullable=False),
        _field("payload", _BYTES, "numpy arrays, as .npz without pickles", nullable=False),
        _field("fitted_tracks", _LONG, "how many tracks it was fitted on", nullable=False),
        _field("fitted_on", _TEXT, "SHA-256 of the sample's track_ids and content hashes"),
        _field("reason", _TEXT, "why it was fitted: first, requested, drift, …", nullable=False),
        _field("versions", _TEXTS, "libraries that fitted it"),
        _RUN_ID,
        _field("created_at", _TIME, "when it was fitted (UTC)", nullable=False),
    ]
)

RUNS = T.StructType(
    [
        _RUN_ID,
        _field(
            "stage",
            _TEXT,
            "a stage of a night, as specrec.pipeline.stages names them, or account, evaluate, train_encoder, undo, "
            "repair, maintain, rollback or forget",
            nullable=False,
        ),
        _field("status", _TEXT, "done, unchanged or failed", nullable=False),
        _field("rows_in", _LONG, "rows that the stage had to deal with"),
        _field("rows_out", _LONG, "rows that it wrote"),
        _field("rows_failed", _LONG, "rows that went to quarantine"),
        _field("seconds", _DOUBLE, "wall-clock time"),
        _field("started_at", _TIME, "UTC", nullable=False),
        _field("details", _TEXTS, "what else the stage counted"),
        _field("message", _TEXT, "the error of a failed stage"),
        _field("config_hash", _TEXT, "hash of all configuration that changes results", nullable=False),
        _field("versions", _TEXTS, "specrec, Spark, Delta, librosa, …"),
    ]
)

RUN_METRICS = T.StructType(
    [
        _RUN_ID,
        _field("stage", _TEXT, "as in runs", nullable=False),
        _field(
            "part", _TEXT, "what it is of: a space, system, code, …; empty: the stage as a whole", nullable=False
        ),
        _field("metric", _TEXT, "one of specrec.pipeline.run_metrics.RUN_METRICS", nullable=False),
        _field("value", _DOUBLE, "the number", nullable=False),
        _field("recorded_at", _TIME, "when the stage ended (UTC)", nullable=False),
    ]
)

EVALUATION = T.StructType(
    [
        _RUN_ID,
        _field("system", _TEXT, "a system, a baseline, or features+spectrogram: the two together", nullable=False),
        _field("metric", _TEXT, "one of specrec.evaluate.metrics.METRICS", nullable=False),
        _field(
            "slice", _TEXT, "the genre, kind of reason, or people and tracks it is of; empty: all", nullable=False
        ),
        _field("value", _DOUBLE, "the figure", nullable=False),
        _field("low", _DOUBLE, "lower end of its 95 % bootstrap interval; null: not resampled"),
        _field("high", _DOUBLE, "upper end"),
        _field("n", _LONG, "tracks, lists or rows that it is of", nullable=False),
        _field("details", _TEXTS, "what else is to be known of it"),
        _COMPUTED_AT,
    ]
)


#: What becomes of a row, as :meth:`specrec.warehouse.tables.Warehouse.change` takes it.
NEW, MOVED, GONE = "new", "moved", "gone"


@dataclass(frozen=True)
class Table:
    """A table's name, schema, key and partitioning, and who makes it.

    Attributes
    ----------
    made_by : str
        The stage of a night that brings it up to date with what it is made from. Empty: it is a record of what
        happened, which nothing could make anew.
    by_rows : bool
        Whether that stage looks for each row whether it is there, and so makes anew what was deleted; otherwise it
        asks what state of its input the table was made from.
    believed_by : tuple of str
        The stages that go by what a record says, such as which files failed; empty if none does.
    properties : tuple of tuple of str
        Delta's properties, by name, that a night sees to: they are set when the table is created, and set again
        where they are missing.
    read_by : tuple of str
        What its rows are sorted by, within a partition, when its files are put in order: what a service asks for is
        then in one file, and there side by side.
    """

    name: str
    schema: T.StructType
    key: tuple[str, ...]
    partitioned_by: tuple[str, ...] = ()
    made_by: str = ""
    by_rows: bool = False
    believed_by: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    read_by: tuple[str, ...] = ()


#: What is set where a table does not say it: how long files are kept that are its own no more.
KEEPING = (("delta.deletedFileRetentionDuration", f"interval {MOST_KEEP_DAYS} days"),)

_SKIPPED_BY_TIME = ("delta.dataSkippingStatsColumns", "ts,run_id")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("tracks", TRACKS, ("track_id",), made_by="ingest", by_rows=True),
        Table("to_extract", TO_EXTRACT, ("audio_uri",), made_by="extract", by_rows=True),
        Table("audio_features", AUDIO_FEATURES, ("track_id",), made_by="extract", by_rows=True),
        Table("mel_spectrograms", MEL_SPECTROGRAMS, ("track_id",), made_by="extract", by_rows=True),
        Table(
            "quarantine",
            QUARANTINE,
            ("track_id", "stage"),
            believed_by=("ingest", "extract", "embed", "neighbours"),
        ),
        Table("embeddings", EMBEDDINGS, ("space", "track_id"), ("space",), made_by="embed", by_rows=True),
        Table(
            "neighbours",
            NEIGHBOURS,
            ("space", "track_id", "rank"),
            ("space",),
            made_by="neighbours",
            read_by=("track_id", "rank"),
        ),
        Table(
            "recommendations",
            RECOMMENDATIONS,
            ("system", "track_id", "rank"),
            ("system",),
            made_by="recommend",
            properties=(("delta.enableChangeDataFeed", "true"),),
            read_by=("track_id", "rank"),
        ),
        Table("list_inputs", LIST_INPUTS, ("system", "track_id"), ("system",), made_by="recommend"),
        # each pair is looked for when anything changed that groups depend on; until then they do without it
        Table("compared_pairs", COMPARED_PAIRS, ("a", "b"), made_by="duplicates", by_rows=True),
        Table("to_connect", TO_CONNECT, ("track_id", "group_id"), made_by="duplicates", by_rows=True),
        Table("duplicates", DUPLICATES, ("track_id",), made_by="duplicates"),
        Table("agreement", AGREEMENT, ("track_id",), made_by="recommend"),
        Table("track_listeners", TRACK_LISTENERS, ("track_id",), made_by="factors"),
        Table("also_liked", ALSO_LIKED, ("track_id", "rank"), made_by="factors"),
        Table("crowd", CROWD, ("user_id", "track_id"), made_by="factors"),
        Table(
            "user_recommendations",
            USER_RECOMMENDATIONS,
            ("system", "user_id", "rank"),
            ("system",),
            made_by="people",
            properties=(("delta.enableChangeDataFeed", "true"),),
            read_by=("user_id", "rank"),
        ),
        Table("told_tracks", TOLD_TRACKS, ("track_id",), made_by="people"),
        Table("people_without_list", PEOPLE_WITHOUT_LIST, ("user_id",), made_by="people"),
        Table("map", MAP, ("track_id",), made_by="map", by_rows=True),
        # what is skipped by is told by the log: of the people in a file it shall say nothing
        Table("events", EVENTS, ("event_id",), made_by="listen", properties=(_SKIPPED_BY_TIME,)),
        Table("event_files", EVENT_FILES, ("uri", "fingerprint"), made_by="listen"),
        Table(
            "refused_events", REFUSED_EVENTS, ("uri", "event_id"), made_by="listen", properties=(_SKIPPED_BY_TIME,)
        ),
        Table("preferences", PREFERENCES, ("user_id", "track_id"), made_by="listen"),
        Table("forgotten", FORGOTTEN, ("user_hash",)),
        Table("artefacts", ARTEFACTS, ("name", "version"), made_by="fit"),
        Table("runs", RUNS, ("run_id", "stage")),
        Table("run_metrics", RUN_METRICS, ("run_id", "stage", "part", "metric")),
        Table("evaluation", EVALUATION, ("run_id", "system", "metric", "slice")),
    )
}

"""What an encoder is trained on: a sample of ``mel_spectrograms``, streamed from the table into a file of bytes.

Only one batch of rows is in memory at a time. The file is mapped, not read: the operating system keeps of it what
there is room for, so excerpts are drawn from all of the sample and not from a shuffle buffer's part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from specrec.audio.mel import STEP_DB, TOP_DB, decode_mel
from specrec.embedding.features import Layout, fit_scaler, layout_of, stack, standardise
from specrec.errors import SpecrecError
from specrec.warehouse.reader import Reader

Codes = npt.NDArray[np.uint8]

#: Rows read at once: 32 spectrograms of 30 s are 5 MB.
BATCH_ROWS = 32
_ID_ROWS = 65_536
_BUFFER_BYTES = 1 << 20
_MOST_DEVIATIONS = 4.0  # of a feature: no odd one decides

#: A code of :func:`specrec.audio.mel.encode_mel` times this, taken from 1, is its value in [0, 1].
STEP = STEP_DB / TOP_DB


@dataclass(frozen=True)
class Spectrograms:
    """The sample: spectrograms of differing lengths, one after the other.

    Attributes
    ----------
    codes : uint8, shape (frames of all, n_mels)
        Mapped from a file: frame after frame, as steps of ``STEP_DB`` below the maximum.
    starts, lengths : int64, shape (tracks,)
        Where each track's frames are.
    track_ids : str, shape (tracks,), sorted
    songs : int64, shape (tracks,)
        Number of the song that a track is of; tracks of one song are alike, whatever they sound like.
    held_out : bool, shape (tracks,)
        The tracks that the encoder is judged by and not trained on.
    labels : int64, shape (tracks,)
        Number of the label that the catalogue gives a track, such as its genre; -1: none.
    measured : float32, shape (tracks, measures)
        The job's own features, standardised over the sample; no measures if none were asked for.
    fingerprint : str
        Hash of the sample: its tracks, the bytes of their audio, and what was measured, as the table has it.
    """

    codes: Codes
    starts: Int64Array
    lengths: Int64Array
    track_ids: npt.NDArray[Any]
    songs: Int64Array
    held_out: BoolArray
    labels: Int64Array
    measured: Float32Array
    fingerprint: str

    @property
    def n_mels(self) -> int:
        """Return how many mel bands there are."""
        return int(self.codes.shape[1])

    def excerpts(self, tracks: Int64Array, first: Int64Array, frames: int) -> Codes:
        """Return excerpts of so many frames; a track that is shorter is repeated.

        Parameters
        ----------
        tracks, first : int64, shape (n,)
            Which track, and from which of its frames on.

        Returns
        -------
        uint8, shape (n, frames, n_mels).
        """
        within = (first[:, None] + np.arange(frames)) % self.lengths[tracks][:, None]
        return self.codes[self.starts[tracks][:, None] + within]

    def draw(self, tracks: Int64Array, frames: int, random: np.random.Generator) -> Codes:
        """Return one excerpt of each track from a place that is drawn, as :meth:`excerpts`."""
        places = np.maximum(self.lengths[tracks] - frames, 0) + 1
        return self.excerpts(tracks, (random.random(len(tracks)) * places).astype(np.int64), frames)

    def some(self, tracks: Int64Array, most: int) -> Int64Array:
        """Return the tracks, or so many of them by their hash: ids may be in the order of genres or folders."""
        if len(tracks) <= most:
            return tracks
        return np.sort(tracks[np.argsort(hash_of(self.track_ids[tracks], 0), kind="stable")[:most]])

    def alike(self, tracks: Int64Array, random: np.random.Generator) -> Int64Array:
        """Return for each track one of the same song and the same side of the split, often itself."""
        keys = self.songs * 2 + self.held_out
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        low, high = (np.searchsorted(ordered, keys[tracks], side=side) for side in ("left", "right"))
        return order[low + (random.random(len(tracks)) * (high - low)).astype(np.int64)]


def hash_of(names: Sequence[str] | npt.NDArray[Any], seed: int) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash (SipHash) of each name, the same on every machine."""
    key = hashlib.sha256(str(seed).encode()).hexdigest()[:16]
    hashed: npt.NDArray[np.uint64] = pd.util.hash_array(
        np.asarray(names, dtype=object), hash_key=key, categorize=False
    )
    return hashed


def hold_out(groups: Sequence[str] | npt.NDArray[Any], share: float, seed: int) -> BoolArray:
    """Return which rows are held out: whole groups, each by its own hash, so that it stays on its side for ever.

    Parameters
    ----------
    groups : sequence of str or array
        The group of each row, such as its artist.
    share : float
        Of the groups that are held out, about; one group at least, if there are two.

    Examples
    --------
    >>> held = hold_out(["Abba", "Abba", "Björk", "Can", "Can"], share=0.3, seed=0)
    >>> bool(held[0] == held[1]), bool(held[3] == held[4])
    (True, True)
    """
    hashed = hash_of(groups, seed)
    held = hashed < np.uint64(int(share * 2**64 * (1 - 2**-53)))
    if not held.any():
        held = hashed == hashed.min()
    if held.all() and len(np.unique(hashed)) > 1:
        held = hashed != hashed.max()
    return held


def choose(reader: Reader, size: int, seed: int, audio_hashes: Collection[str] | None = None) -> list[str]:
    """Return the tracks whose hash is least, at most `size`, sorted; the ids of a batch at a time are in memory."""
    kept: npt.NDArray[Any] = np.empty(0, object)
    for batch in _spectrograms(reader, ["track_id"], audio_hashes=audio_hashes, batch_rows=_ID_ROWS):
        kept = np.union1d(kept, batch.column(0).to_numpy(zero_copy_only=False))
        if len(kept) > size:
            kept = kept[np.lexsort((kept, hash_of(kept, seed)))[:size]]
    return sorted(kept.tolist())


def collect(
    reader: Reader,
    folder: Path,
    *,
    size: int,
    seed: int,
    held_out_share: float,
    song_column: str | None = None,
    label_column: str | None = None,
    n_mfcc: int | None = None,
    audio_hashes: Collection[str] | None = None,
) -> Spectrograms:
    """Stream a sample of the spectrograms into `folder`, or find it there if it is the same sample.

    Parameters
    ----------
    reader : Reader
        Of the warehouse.
    folder : Path
        Of the files ``mels.u8`` and ``mels.json``; about 165 KB a track of 30 s.
    size : int
        Tracks, at most.
    held_out_share : float
        Of the groups of :func:`groups_of`.
    song_column : str or None
        Column of the catalogue that names the song; tracks of one song are positives of each other.
    label_column : str or None
        Column of the catalogue that labels tracks, such as ``track_genre``; None: no track has a label.
    n_mfcc : int or None
        Of the configuration, which says what ``audio_features`` holds of a track; None: it is not read.
    audio_hashes : collection of str or None
        Hashes of the audio configuration that the spectrograms may have; None: any.

    Raises
    ------
    SpecrecError
        If there are too few spectrograms, or they differ in their bands.
    """
    chosen = choose(reader, size, seed, audio_hashes)
    if len(chosen) < 4:
        raise SpecrecError(
            f"{len(chosen)} mel spectrograms are too few to train on: run `specrec nightly` with this configuration"
        )
    described = _describe(reader, chosen, song_column, label_column)
    mels, words = folder / "mels.u8", folder / "mels.json"
    columns = ["track_id", "content_hash", "n_mels", "n_frames"]
    batches = _spectrograms(reader, columns, chosen, audio_hashes=audio_hashes, batch_rows=_ID_ROWS)
    rows = pa.Table.from_batches(batches).to_pandas().sort_values("track_id")
    if rows["n_mels"].nunique() != 1:
        raise SpecrecError("the mel spectrograms differ in their bands: run `specrec nightly` to extract them anew")
    n_mels = int(rows["n_mels"].iloc[0])
    lengths = rows["n_frames"].to_numpy(np.int64)
    starts = np.cumsum(lengths) - lengths
    of_each = rows["track_id"] + " " + rows["content_hash"].fillna("") + " " + rows["n_frames"].astype(str)
    fingerprint = hashlib.sha256("\n".join(of_each).encode()).hexdigest()
    shape = (int(lengths.sum()), n_mels)
    ids = rows["track_id"].to_numpy(object)
    if not (words.exists() and json.loads(words.read_text()) == {"fingerprint": fingerprint}):
        folder.mkdir(parents=True, exist_ok=True)
        words.unlink(missing_ok=True)
        columns = ["track_id", "mel", "n_mels", "n_frames"]
        _write(
            mels, shape, pd.Series(starts, ids), _spectrograms(reader, columns, chosen, audio_hashes=audio_hashes)
        )
        words.write_text(json.dumps({"fingerprint": fingerprint}))
    described = described.reindex(ids)
    groups = groups_of(described)
    layout = [] if n_mfcc is None else layout_of(n_mfcc)
    measured = _measured(reader, ids, layout, audio_hashes)
    return Spectrograms(
        codes=np.memmap(mels, np.uint8, "r", shape=shape),
        starts=starts,
        lengths=lengths,
        track_ids=ids,
        songs=pd.factorize(described["song"].fillna("\0" + described.index.to_series()))[0].astype(np.int64),
        held_out=hold_out(groups, held_out_share, seed),
        labels=pd.factorize(described["label"].replace("", None))[0].astype(np.int64),
        measured=_standardise(measured, layout),
        # of the table's values: scaled ones may differ in the last bit on another machine
        fingerprint=hashlib.sha256(fingerprint.encode() + measured.tobytes()).hexdigest(),
    )


def groups_of(described: pd.DataFrame) -> npt.NDArray[Any]:
    """Return what a split keeps together: the first artist, else the album, else the song, else the track.

    Parameters
    ----------
    described : DataFrame
        ``artists, album_name, song``, text or None, by track_id.
    """
    names = pd.DataFrame(
        {
            "artist": described["artists"].str.split(";").str[0].str.strip().str.casefold(),
            "album": described["album_name"].str.strip().str.casefold(),
            "song": described["song"],
            "track": described.index,
        },
        index=described.index,
    )
    named = names.apply(lambda column: (column.name + " " + column).where(column.notna() & (column != "")))
    groups: npt.NDArray[Any] = named.bfill(axis=1).iloc[:, 0].to_numpy(object)
    return groups


def _write(path: Path, shape: tuple[int, int], starts: pd.Series, batches: Iterable[pa.RecordBatch]) -> None:
    codes = np.memmap(path, np.uint8, "w+", shape=shape)
    for batch in batches:
        for row in batch.to_pylist():  # the spectrograms differ in length
            db = decode_mel(row["mel"], row["n_mels"], row["n_frames"])
            start = starts[row["track_id"]]
            codes[start : start + row["n_frames"]] = np.rint(db.T / np.float32(-STEP_DB)).astype(np.uint8)
    codes.flush()


def _describe(reader: Reader, chosen: list[str], song_column: str | None, label_column: str | None) -> pd.DataFrame:
    """Return ``artists, album_name, song, label`` of tracks, by track_id; a column may be one of ``extra``."""
    with reader.opened("tracks") as tracks:
        own = [column for column in (song_column, label_column) if column in tracks.schema.names]
        columns = list(dict.fromkeys(["track_id", "artists", "album_name", "extra", *own]))
        described = tracks.to_table(columns, pc.field("track_id").isin(chosen)).to_pandas().set_index("track_id")
    extra = [dict(of) if of is not None else {} for of in described["extra"]]
    for name, column in (("song", song_column), ("label", label_column)):
        of = described[column] if column in own else [row.get(column) for row in extra]
        described[name] = pd.Series(of, described.index, dtype=object)
    return described[["artists", "album_name", "song", "label"]].astype(object)


def _measured(
    reader: Reader, ids: npt.NDArray[Any], layout: Layout, audio_hashes: Collection[str] | None
) -> Float64Array:
    """Return the features of tracks as ``audio_features`` has them, float64, shape (tracks, measures)."""
    if not layout:
        return np.zeros((len(ids), 0))
    columns, wanted = ["track_id", "audio_hash", *(name for name, _ in layout)], pa.array(ids)
    found = []
    for batch in reader.batches("audio_features", columns):
        own = pc.is_in(batch["track_id"], wanted)
        found.append(
            batch.filter(
                own if audio_hashes is None else pc.and_(own, pc.is_in(batch["audio_hash"], pa.array(audio_hashes)))
            )
        )
    rows = pa.Table.from_batches(found).to_pandas() if found else pd.DataFrame(columns=columns)
    rows = rows.set_index("track_id")
    lacking = ~pd.Index(ids).isin(rows.index)
    if lacking.any():
        raise SpecrecError(
            f"audio_features lacks {lacking.sum()} of the tracks that mel_spectrograms has: run `specrec nightly`"
        )
    return stack(rows.loc[ids], layout)


def _standardise(measured: Float64Array, layout: Layout) -> Float32Array:
    """Return features standardised over the tracks and clipped, float32, same shape."""
    if not layout:
        return measured.astype(np.float32)
    scaler = fit_scaler(measured, layout)
    return standardise(measured, layout, scaler, _MOST_DEVIATIONS).astype(np.float32)


def _spectrograms(
    reader: Reader,
    columns: list[str],
    ids: Sequence[str] | None = None,
    *,
    audio_hashes: Collection[str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most `batch_rows` rows of ``mel_spectrograms``, those of some tracks if `ids` are given.

    Row groups that hold none of them are skipped, and of the others a buffer at a time is read: the scanner of
    pyarrow.dataset would keep whole row groups in memory.
    """
    wanted = None if ids is None else pa.array(ids)
    keys = ["track_id"] + ([] if audio_hashes is None else ["audio_hash"])

    def chosen(rows: Any) -> Any:
        kept = pa.array(np.ones(rows.num_rows, bool)) if wanted is None else pc.is_in(rows["track_id"], wanted)
        return kept if audio_hashes is None else pc.and_(kept, pc.is_in(rows["audio_hash"], pa.array(audio_hashes)))

    with reader.opened("mel_spectrograms") as dataset:
        for fragment in dataset.get_fragments():
            with fragment.filesystem.open_input_file(fragment.path) as source:
                file = pq.ParquetFile(
                    source, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
                )
                for group in range(file.num_row_groups):
                    if not pc.any(chosen(file.read_row_group(group, keys))).as_py():
                        continue
                    for batch in file.iter_batches(batch_rows, [group], list(dict.fromkeys(keys + columns))):
                        kept = batch.filter(chosen(batch)).select(columns)
                        if kept.num_rows:
                            yield kept

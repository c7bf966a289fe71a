"""The sample that an encoder is trained on: streamed, the same whatever the files, split by artist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spectrograms import BANDS, MFCC, measured, some_tracks, spectrogram, write_warehouse

import specrec
from specrec.embedding.features import layout_of, transform
from specrec.encoder import data as D
from specrec.errors import SpecrecError
from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader

SIZES = {"size": 100, "seed": 0, "held_out_share": 0.3, "song_column": "source_song"}


def reader(root):
    return Reader(str(root), StorageConfig())


def collected(root, folder, **changed):
    return D.collect(reader(root), folder, **(SIZES | changed))


def test_the_sample_holds_the_very_spectrograms_of_the_table(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(12), frames=50, files=3)
    found = collected(tmp_path / "w", tmp_path / "s")
    assert found.track_ids.tolist() == [f"t{i:03}" for i in range(12)]
    assert found.n_mels == BANDS
    for i in range(12):
        got = found.excerpts(np.array([i]), np.array([0]), int(found.lengths[i]))[0].T
        assert np.abs(80 * (1 - got * D.STEP) - (spectrogram(i, 50 + i) + 80)).max() <= 0.2


def test_the_same_sample_whatever_the_files_and_their_order(tmp_path):
    tracks = some_tracks(40)
    write_warehouse(tmp_path / "one", tracks)
    write_warehouse(tmp_path / "many", tracks, files=7)
    one, many = (collected(tmp_path / name, tmp_path / f"s-{name}", size=10) for name in ("one", "many"))
    assert one.fingerprint == many.fingerprint
    assert np.array_equal(one.codes, many.codes)
    hashed = pd.Series(D.hash_of([str(of["track_id"]) for of in tracks], 0), [of["track_id"] for of in tracks])
    assert one.track_ids.tolist() == sorted(hashed.nsmallest(10).index)
    other = collected(tmp_path / "one", tmp_path / "s-other", size=10, seed=1)
    assert set(other.track_ids) != set(one.track_ids)


@pytest.mark.parametrize("table", ["mel_spectrograms", "tracks", "audio_features"])
@pytest.mark.parametrize("lost", [True, False])
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path, table, lost):
    write_warehouse(tmp_path / "w", some_tracks(12))
    (path,) = (tmp_path / "w" / table).glob("*.parquet")
    path.unlink() if lost else path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SpecrecError, match=f"cannot read the table .*{table}: .*`specrec repair {table}") as told:
        collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC)
    assert "\n" not in str(told.value)


def test_a_sample_that_is_there_is_not_read_again_and_another_one_is(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(10))
    first = collected(tmp_path / "w", tmp_path / "s")
    written = (tmp_path / "s" / "mels.u8").stat().st_mtime_ns
    again = collected(tmp_path / "w", tmp_path / "s")
    assert (tmp_path / "s" / "mels.u8").stat().st_mtime_ns == written
    assert np.array_equal(again.codes, first.codes)
    fewer = collected(tmp_path / "w", tmp_path / "s", size=5)
    assert (len(fewer.lengths), fewer.codes.shape[0]) == (5, fewer.lengths.sum())


def test_only_few_rows_are_in_memory(tmp_path):
    count, frames = 600, 1_500
    noise = np.random.default_rng(0).integers(0, 256, (count, BANDS * frames), dtype=np.uint8)  # not compressible
    rows = {"track_id": [f"t{i}" for i in range(count)], "mel": [row.tobytes() for row in noise]}
    from deltalake import write_deltalake

    write_deltalake(tmp_path / "mel_spectrograms", pa.table(rows))
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    for batch in D._spectrograms(reader(tmp_path), ["track_id", "mel"]):
        assert batch.num_rows <= D.BATCH_ROWS
        seen += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert seen == count
    assert most < noise.nbytes / 2


def test_only_spectrograms_of_the_configuration_are_taken(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(8), audio_hash="old")
    with pytest.raises(SpecrecError, match="0 mel spectrograms are too few"):
        collected(tmp_path / "w", tmp_path / "s", audio_hashes=["new"])
    assert len(collected(tmp_path / "w", tmp_path / "s", audio_hashes=["old"]).lengths) == 8


def test_spectrograms_of_differing_bands_are_refused(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(4))
    more = [{"track_id": f"u{i}"} for i in range(4)]
    write_warehouse(tmp_path / "v", more, bands=8)
    from deltalake import DeltaTable, write_deltalake

    for name in ("tracks", "mel_spectrograms"):
        rows = DeltaTable(tmp_path / "v" / name).to_pyarrow_table()
        write_deltalake(tmp_path / "w" / name, rows, mode="append")
    with pytest.raises(SpecrecError, match="differ in their bands"):
        collected(tmp_path / "w", tmp_path / "s")


# --- the split ----------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([f"artist {i}" for i in range(30)]), min_size=2, max_size=80), st.integers(0, 9))
def test_no_group_is_on_both_sides_and_none_of_them_is_empty(groups, seed):
    held = D.hold_out(groups, 0.2, seed)
    sides = pd.DataFrame({"group": groups, "held": held}).groupby("group")["held"].nunique()
    assert (sides == 1).all()
    if len(set(groups)) > 1:
        assert held.any()
        assert not held.all()


def test_a_group_stays_on_its_side_when_others_come():
    names = [f"artist {i}" for i in range(2_000)]
    few, many = D.hold_out(names[:1_000], 0.1, 3), D.hold_out(names, 0.1, 3)
    assert np.array_equal(few, many[:1_000])
    assert 0.07 < many.mean() < 0.13
    assert not np.array_equal(D.hold_out(names, 0.1, 4), many)


def test_what_is_kept_together(tmp_path):
    tracks = [
        {"track_id": "a", "artists": "Ann;Bob", "album_name": "One"},
        {"track_id": "b", "artists": "ann", "album_name": "Two"},
        {"track_id": "c", "album_name": "Two"},
        {"track_id": "d", "album_name": "two", "song": "s"},
        {"track_id": "e", "artists": "", "song": "s"},
        {"track_id": "f", "song": "s"},
        {"track_id": "g"},
        {"track_id": "h"},
    ]
    frame = pd.DataFrame(tracks).set_index("track_id").reindex(columns=["artists", "album_name", "song"])
    groups = dict(zip(frame.index, D.groups_of(frame.astype(object)), strict=True))
    together = [sorted(of) for of in pd.Series(groups).groupby(pd.Series(groups)).groups.values()]
    assert sorted(together) == [["a", "b"], ["c", "d"], ["e", "f"], ["g"], ["h"]]


# --- what is known of the tracks ----------------------------------------------------------------------------


def test_labels_are_numbers_of_the_column_and_none_where_there_is_none(tmp_path):
    genres = ["rock", None, "pop", "", "rock", "pop"]
    tracks = [{"track_id": f"t{i}", "track_genre": name, "song": f"s{i // 2}"} for i, name in enumerate(genres)]
    write_warehouse(tmp_path / "w", tracks)
    found = collected(tmp_path / "w", tmp_path / "s", label_column="track_genre").labels
    assert (found == -1).tolist() == [name in (None, "") for name in genres]
    assert found[0] == found[4] != found[2] == found[5]
    assert (collected(tmp_path / "w", tmp_path / "s").labels == -1).all()
    assert (collected(tmp_path / "w", tmp_path / "s", label_column="unknown").labels == -1).all()
    of_songs = collected(tmp_path / "w", tmp_path / "s", label_column="source_song").labels  # one of `extra`
    assert of_songs.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_was_measured_is_standardised_and_in_the_order_of_the_tracks(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(12))
    found = collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC)
    layout = layout_of(MFCC)
    raw = transform(np.stack([np.hstack([measured(i)[name] for name, _ in layout]) for i in range(12)]), layout)
    np.testing.assert_allclose(found.measured, (raw - raw.mean(axis=0)) / raw.std(axis=0), rtol=1e-4, atol=1e-5)
    without = collected(tmp_path / "w", tmp_path / "s")
    assert without.measured.shape == (12, 0)
    assert without.fingerprint != found.fingerprint


def test_the_fingerprint_is_of_what_the_table_says_and_not_of_what_is_computed(tmp_path, monkeypatch):
    write_warehouse(tmp_path / "w", some_tracks(12))
    found = collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC)
    exactly = D.standardise
    monkeypatch.setattr(D, "standardise", lambda *given: np.nextafter(exactly(*given), np.inf))
    elsewhere = collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC)  # another machine's last bit
    assert elsewhere.fingerprint == found.fingerprint
    from deltalake import DeltaTable

    DeltaTable(tmp_path / "w" / "audio_features").update({"tempo": "tempo + 1"}, predicate="track_id = 't003'")
    assert collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC).fingerprint != found.fingerprint


def test_of_many_tracks_some_are_taken_whatever_their_ids_order(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(40))
    found = collected(tmp_path / "w", tmp_path / "s")
    tracks = np.arange(4, 40)
    assert np.array_equal(found.some(tracks, 36), tracks)
    some = found.some(tracks, 12)
    assert len(set(some.tolist())) == 12
    assert set(some.tolist()) <= set(tracks.tolist())
    assert (np.diff(some) > 0).all()
    assert some.max() > 30  # of all, and not the first
    assert some.min() < 10
    assert set(found.some(tracks[::-1], 12).tolist()) == set(some.tolist())


def test_tracks_that_were_not_measured_are_told(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(8))
    from deltalake import DeltaTable

    DeltaTable(tmp_path / "w" / "audio_features").delete("track_id = 't003'")
    with pytest.raises(SpecrecError, match="audio_features lacks 1 of the tracks"):
        collected(tmp_path / "w", tmp_path / "s", n_mfcc=MFCC)


# --- excerpts -----------------------------------------------------------------------------------------------


def test_excerpts_are_of_their_track_and_a_short_one_is_repeated(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(6), frames=20)
    found = collected(tmp_path / "w", tmp_path / "s")
    excerpts = found.excerpts(np.array([2, 2]), np.array([0, 5]), 50)
    whole = found.codes[found.starts[2] : found.starts[2] + 22]
    assert np.array_equal(excerpts[0], np.concatenate([whole, whole, whole[:6]]))
    assert np.array_equal(excerpts[1, :17], whole[5:])
    drawn = found.draw(np.arange(6), 8, np.random.default_rng(0))
    assert drawn.shape == (6, 8, BANDS)
    for i in range(6):
        own = found.codes[found.starts[i] : found.starts[i] + found.lengths[i]]
        windows = np.lib.stride_tricks.sliding_window_view(own, 8, axis=0).transpose(0, 2, 1)
        assert (windows == drawn[i]).all(axis=(1, 2)).any()
    assert np.array_equal(drawn, found.draw(np.arange(6), 8, np.random.default_rng(0)))


def test_a_song_is_like_itself_and_its_other_clips_but_never_across_the_split(tmp_path):
    tracks = [{"track_id": f"t{i}", "artists": f"artist {i}", "song": "one" if i < 10 else None} for i in range(20)]
    write_warehouse(tmp_path / "w", tracks)
    found = collected(tmp_path / "w", tmp_path / "s")
    ids = np.repeat(np.arange(20), 200)
    alike = found.alike(ids, np.random.default_rng(0))
    assert (found.songs[alike] == found.songs[ids]).all()
    assert (found.held_out[alike] == found.held_out[ids]).all()
    of_song = [i for i in range(20) if str(found.track_ids[i]) in {f"t{j}" for j in range(10)}]
    for side in (True, False):
        members = {i for i in of_song if found.held_out[i] == side}
        assert all(set(alike[ids == i].tolist()) == members for i in members)
    assert (alike[~np.isin(ids, of_song)] == ids[~np.isin(ids, of_song)]).all()


# --- no torch elsewhere -------------------------------------------------------------------------------------


def test_nothing_but_the_encoder_imports_torch():
    root = Path(specrec.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.parent == root / "encoder":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names]
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else named
                assert not any(name.split(".")[0] in {"torch", "onnx"} for name in modules), path
    modules = "specrec.cli, specrec.pipeline.train_encoder, specrec.encoder.spark"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"

"""Lists of people over nights: made, kept, told truly, and taken away again."""

from __future__ import annotations

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from nights import Night, read_csv, untrue, write_csv
from preferred import expected

from specrec.cli import main
from specrec.demo.listeners import render_listeners
from specrec.evaluate.metrics import Measurement
from specrec.pipeline.evaluate import evaluate

PEOPLE = ("listen", "factors", "people")
OF_PEOPLE = ("user_recommendations", "told_tracks", "people_without_list")
SETTINGS = ("listeners.factors=4", "listeners.top_n=6", "listeners.min_together=2", "listeners.new_below=2")


@pytest.fixture(scope="module")
def events(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    render_listeners(rendered / "catalogue.csv", folder, people=40)
    return folder


@pytest.fixture(scope="module")
def with_people(first_night: Night, events: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The rendered catalogue's first night, and people's lists on top of it. Not to be changed."""
    place = tmp_path_factory.mktemp("people") / "warehouse"
    shutil.copytree(first_night.warehouse, place)
    night = Night(first_night.catalogue, str(place), (f"listeners.events={events}", *SETTINGS))
    night.run(stages=PEOPLE)
    return night


def _lists(night: Night) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(night.reader.rows("user_recommendations"), key=lambda row: row["rank"]):
        found[row["user_id"]].append(row)
    return found


def test_everybody_has_a_list_of_tracks_that_they_do_not_know(with_people: Night) -> None:
    lists = _lists(with_people)
    known: dict[str, set[str]] = defaultdict(set)
    for row in with_people.reader.rows("preferences"):
        known[row["user_id"]].add(row["track_id"])
    assert set(lists) == {"", *known}
    assert len(known) == 40
    artists = {row["track_id"]: row["artists"] for row in with_people.reader.rows("tracks")}
    for user, rows in lists.items():
        tracks = [row["track_id"] for row in rows]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == 6 or len(known[user]) > 10
        assert not known[user] & set(tracks)
        assert len(set(tracks)) == len(tracks)
        assert max(Counter(artists[track] for track in tracks).values()) <= 2


def _nearest(user: str, preference: dict[tuple[str, str], float], crowd: dict[str, set[str]]) -> list[str]:
    """The 50 whose likes are nearest to a person's, by the definition."""
    mine = {track for (of, track), value in preference.items() if of == user and value > 0}
    near = {}
    for other, likes in crowd.items():
        both = len(mine & likes)
        if other != user and both >= 2:
            near[other] = both / np.sqrt(len(mine) * len(likes)) * both / (both + 5)
    return sorted(near, key=lambda other: (-near[other], other))[:50]


def test_reasons_add_up_and_every_statement_is_true_of_the_tables(with_people: Night) -> None:
    reader = with_people.reader
    preference = {(row["user_id"], row["track_id"]): row["preference"] for row in reader.rows("preferences")}
    likes: dict[str, set[str]] = defaultdict(set)
    for (user, track), value in preference.items():
        if value > 0:
            likes[track].add(user)
    knows = Counter(track for _, track in preference)
    title = {row["track_id"]: row["track_name"] for row in reader.rows("tracks")}
    crowd: dict[str, set[str]] = defaultdict(set)
    for row in reader.rows("crowd"):
        crowd[row["user_id"]].add(row["track_id"])
    said: Counter[str] = Counter()
    for row in reader.rows("user_recommendations"):
        assert row["score"] == pytest.approx(sum(of["contribution"] for of in row["reasons"]), abs=1e-6)
        for of in row["reasons"]:
            said[of["family"]] += 1
            if of["feature"] is not None:
                assert f"“{title[of['feature']]}”" in of["statement"]
                likes_it = preference[row["user_id"], of["feature"]] > 0
                assert likes_it == ("do not" not in of["statement"])
            if of["family"] == "item_based" and of["feature"] is not None:
                both = likes[row["track_id"]] & likes[of["feature"]]
                n, m = int(of["track_value"]), int(of["recommended_value"])
                assert (n, m) == (len(both), len(likes[of["feature"]]))
                assert f"{n} of {m} people" in of["statement"]
            if of["family"] == "user_based":
                near = _nearest(row["user_id"], preference, crowd)
                n, m = sum(row["track_id"] in crowd[other] for other in near), len(near)
                assert (of["track_value"], of["recommended_value"]) == (n, m)
                assert f"{n} of the {m} people" in of["statement"]
            if of["family"] == "average" and of["track_value"] is not None and knows[row["track_id"]]:
                n, m = len(likes[row["track_id"]]), knows[row["track_id"]]
                assert f"{n} of {m} people" in of["statement"]
    assert {"content", "als", "item_based"} <= set(said)


def test_a_component_makes_lists_of_its_own_and_they_are_as_varied_as_they_should_be(
    with_people: Night, tmp_path: Path
) -> None:
    shutil.copytree(with_people.warehouse, tmp_path / "warehouse")
    night = Night(with_people.catalogue, f"{tmp_path}/warehouse", with_people.settings)
    night.run("listeners.systems=[user_based]", "listeners.variety=1", "listeners.top_n=4", stages=["people"])
    rows = night.reader.rows("user_recommendations")
    assert {row["user_id"] for row in rows} > {"listener-001", "listener-002"}
    assert {of["family"] for row in rows for of in row["reasons"]} == {"user_based"}
    assert all(0 < row["score"] <= 1 for row in rows)


def test_what_people_are_recommended_is_more_of_their_styles_than_by_chance(with_people: Night) -> None:
    genre = {row["track_id"]: row["track_genre"] for row in with_people.reader.rows("tracks")}
    liking: dict[str, Counter[str]] = defaultdict(Counter)
    for row in with_people.reader.rows("preferences"):
        liking[row["user_id"]][genre[row["track_id"]]] += row["preference"] * row["confidence"]
    known: dict[str, set[str]] = defaultdict(set)
    for row in with_people.reader.rows("preferences"):
        known[row["user_id"]].add(row["track_id"])
    hits, chances = [], []  # few tracks of the styles that a person likes are left that the person does not know
    for user, rows in _lists(with_people).items():
        best = {name for name, value in liking[user].most_common(2) if value > 0}
        left = [genre[track] in best for track in genre if track not in known[user]]
        if 0 < sum(left) < len(left):
            hits += [genre[row["track_id"]] in best for row in rows[:3]]
            chances += [np.mean(left)] * 3
    assert np.mean(hits) > 1.25 * np.mean(chances)


def test_a_second_night_changes_nothing_and_new_events_change_one_person(
    with_people: Night, events: Path, tmp_path: Path
) -> None:
    shutil.copytree(with_people.warehouse, tmp_path / "warehouse")
    shutil.copytree(events, tmp_path / "events")
    night = Night(
        with_people.catalogue, f"{tmp_path}/warehouse", (f"listeners.events={tmp_path}/events", *SETTINGS)
    )
    before = _lists(night)
    tracks = [row["track_id"] for row in night.reader.rows("tracks")]
    new = before["listener-001"][0]["track_id"]
    with (tmp_path / "events" / "new.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("user_id", "track_id", "kind", "ts"))
        table.writerow(("listener-001", new, "dislike", "2025-05-02T10:00:00Z"))
        table.writerow(("somebody new", new, "like", "2025-05-02T10:00:00Z"))
        table.writerows(("knows all", track, "play", "2025-05-02T10:00:00Z") for track in tracks)
    run = night.run(stages=PEOPLE)
    after = _lists(night)
    assert night.stage(run, "factors")["status"] == "unchanged"
    changed = {user for user in after if after[user] != before.get(user)}
    assert changed == {"listener-001", "somebody new"}
    assert new not in {row["track_id"] for row in after["listener-001"]}
    assert after["somebody new"][0]["level"] == 1
    # who knows all there is has no list, and is not looked at again
    assert [row["user_id"] for row in night.reader.rows("people_without_list")] == ["knows all"]
    versions = {name: night.reader.table(name).version() for name in OF_PEOPLE}
    run = night.run(stages=PEOPLE)
    assert {night.stage(run, name)["status"] for name in PEOPLE} == {"unchanged"}
    assert {name: night.reader.table(name).version() for name in OF_PEOPLE} == versions

    # a track has another title: it is told to those who know it, and to whom it is recommended
    renamed = after["listener-002"][0]["track_id"]
    catalogue = deltalake.DeltaTable(f"{night.warehouse}/tracks")
    catalogue.update(new_values={"track_name": "Other Words"}, predicate=f"track_id = '{renamed}'")
    run = night.run(stages=PEOPLE)
    told = _lists(night)
    concerned = {row["user_id"] for row in night.reader.rows("preferences") if row["track_id"] == renamed}
    concerned |= {user for user, rows in after.items() if renamed in {row["track_id"] for row in rows}}
    assert {user for user, rows in told.items() if rows[0]["run_id"] == run} == concerned - {"knows all"}
    said = [of for rows in told.values() for row in rows for of in row["reasons"] if of["feature"] == renamed]
    assert said
    assert all("“Other Words”" in of["statement"] for of in said)
    assert night.stage(run, "people")["details"]["tracks_changed"] == "1"

    night.run("listeners.refit_share=0.0001", stages=PEOPLE)
    assert all(row["run_id"] != run for rows in _lists(night).values() for row in rows)


def test_two_people_who_like_nothing_have_lists_and_then_nobody_is_left(first_night: Night, tmp_path: Path) -> None:
    shutil.copytree(first_night.warehouse, tmp_path / "warehouse")
    (tmp_path / "events").mkdir()
    rows = ("user_id,track_id,kind,value,ts", "ann,demo-0001,skip,,2025-05-01", "bob,demo-0002,rating,3,2025-05-01")
    (tmp_path / "events" / "few.csv").write_text("\n".join(rows), encoding="utf-8")
    settings = (f"listeners.events={tmp_path}/events", "listeners.top_n=6")
    night = Night(first_night.catalogue, f"{tmp_path}/warehouse", settings)
    night.run(stages=PEOPLE)
    lists = _lists(night)
    assert {user: len(rows) for user, rows in lists.items()} == {"": 6, "ann": 6, "bob": 6}
    assert "demo-0001" not in {row["track_id"] for row in lists["ann"]}
    arguments = ["forget", "ann", "bob", "--warehouse", night.warehouse, "--set", "spark.jars_dir=.jars"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    night.run(stages=PEOPLE)
    assert set(_lists(night)) == {""}
    assert {row["listeners"] for row in night.reader.rows("track_listeners")} == {0}


def test_a_person_is_forgotten_everywhere(with_people: Night, tmp_path: Path) -> None:
    shutil.copytree(with_people.warehouse, tmp_path / "warehouse")
    arguments = ["forget", "listener-002", "--warehouse", f"{tmp_path}/warehouse"]
    result = CliRunner().invoke(main, [*arguments, "--set", "spark.jars_dir=.jars"])
    assert result.exit_code == 0, result.output
    night = Night(with_people.catalogue, f"{tmp_path}/warehouse", with_people.settings)
    for name in ("events", "preferences", "user_recommendations"):
        users = {row["user_id"] for row in night.reader.rows(name)}
        assert "listener-002" not in users
        assert "listener-001" in users
    night.run(stages=PEOPLE)
    assert "listener-002" not in _lists(night)


LISTS = ("ingest", "extract", "embed", "neighbours", "recommend")


def _vectors(night: Night) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["space"], row["track_id"]): row for row in night.reader.rows("embeddings")}


def test_tracks_are_near_that_the_same_people_like_and_of_new_ones_that_is_predicted(
    with_people: Night, rendered: Path, tmp_path: Path
) -> None:
    shutil.copytree(with_people.warehouse, tmp_path / "warehouse")
    rows, more = (read_csv(rendered / name) for name in ("catalogue.csv", "more.csv"))
    catalogue = write_csv(tmp_path / "catalogue.csv", [*rows, more[0]])
    settings = (*with_people.settings, f"catalogue.audio_root={rendered}")
    night = Night(f"{catalogue}", f"{tmp_path}/warehouse", settings)
    first = night.run(stages=LISTS)
    assert night.stage(first, "embed")["details"]["listeners"] == "25"
    before = _vectors(night)

    write_csv(catalogue, [*rows, *more])
    second = night.run(stages=LISTS)
    reader, vectors = night.reader, _vectors(night)
    assert night.stage(second, "embed")["details"]["listeners"] == "1"
    assert {key: row for key, row in vectors.items() if key in before} == before
    tracks = {row["track_id"] for row in reader.rows("tracks")}
    space = {track: row for (name, track), row in vectors.items() if name == "listeners"}
    assert set(space) == tracks
    liked = {row["track_id"] for row in reader.rows("preferences") if row["preference"] > 0}
    assert {track: row["predicted"] for track, row in space.items()} == {of: of not in liked for of in tracks}
    assert {row["track_id"] for row in more} <= tracks - liked
    factors = {row["track_id"]: row["als"] for row in reader.rows("track_listeners")}
    assert all(space[track]["vector"] == factors[track] for track in liked)
    assert {row["predicted"] for (name, _), row in vectors.items() if name != "listeners"} == {None}

    lists: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in reader.rows("recommendations", [("system", "=", "listeners")]):
        lists[row["track_id"]].append(row)
        one, other = (np.array(space[row[side]]["vector"], float) for side in ("track_id", "recommended_track_id"))
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert row["score"] == pytest.approx(cosine, abs=1e-6)
        assert sum(of["contribution"] for of in row["reasons"]) == pytest.approx(row["score"], abs=1e-6)
        (told,) = [of["statement"] for of in row["reasons"] if of["family"] == "listeners"]
        assert row["explanation"] == f"By who likes them: {told}."
        assert ("is guessed from sound" in told) == (not {row["track_id"], row["recommended_track_id"]} <= liked)
    assert set(lists) == tracks
    assert any("people like both" in row["explanation"] for rows in lists.values() for row in rows)
    assert untrue(night) == []

    versions = night.versions()
    third = night.run(stages=LISTS)
    assert {night.stage(third, name)["status"] for name in LISTS} == {"unchanged"}
    assert night.versions() == versions

    fourth = night.run("listeners.als_iterations=3", stages=("factors", "embed"))
    anew = {key for key, row in _vectors(night).items() if row["run_id"] == fourth}
    assert anew == {("listeners", track) for track in tracks}

    shown = CliRunner().invoke(
        main, ["show", more[0]["track_id"], "--system", "listeners", "--warehouse", night.warehouse]
    )
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("By who likes them:") == len(lists[more[0]["track_id"]])


def test_the_command_prints_a_person_s_list_and_says_who_is_not_known(with_people: Night) -> None:
    arguments = ["--warehouse", with_people.warehouse]
    known = CliRunner().invoke(main, ["recommend-for", "listener-003", *arguments, "--top", "3"])
    assert known.exit_code == 0, known.output
    assert known.output.count("content:") + known.output.count("als:") >= 3
    unknown = CliRunner().invoke(main, ["recommend-for", "a stranger", *arguments])
    assert unknown.exit_code == 0
    assert "Nothing is known of a stranger yet" in unknown.output
    beside = CliRunner().invoke(main, ["show", "demo-0004", "--system", "listeners", *arguments])
    assert beside.exit_code == 0, beside.output
    assert "people who like" in beside.output
    other = CliRunner().invoke(main, ["recommend-for", "listener-003", "--system", "magic", *arguments])
    assert other.exit_code == 2
    assert "there are no lists of the system 'magic'" in other.output


# --- evaluation -------------------------------------------------------------------------------------------------

LIE = "Because it is the best."


@pytest.fixture(scope="module")
def judged(
    with_people: Night, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Night, dict[str, list[dict[str, Any]]]]:
    """A night on which people judge explanations, some of them in vain; then one explanation is made a lie."""
    folder = tmp_path_factory.mktemp("judged")
    shutil.copytree(with_people.warehouse, folder / "warehouse")
    shutil.copytree(events, folder / "events")
    settings = (f"listeners.events={folder}/events", *SETTINGS)
    night = Night(with_people.catalogue, f"{folder}/warehouse", settings)
    of_people, of_tracks = (_lists(night)["listener-001"], night.reader.rows("recommendations"))
    spectrogram, features = (
        next(row for row in of_tracks if row["system"] == system) for system in ("spectrogram", "features")
    )
    said = [
        ("listener-001", of_people[0]["track_id"], "clear", 4, of_people[0]["explanation_id"]),
        ("listener-001", of_people[0]["track_id"], "clear", 2, of_people[0]["explanation_id"]),  # at last
        ("listener-001", of_people[1]["track_id"], "clear", 5, of_people[1]["explanation_id"]),
        ("somebody new", of_people[0]["track_id"], "clear", 3, of_people[0]["explanation_id"]),
        ("somebody new", spectrogram["recommended_track_id"], "trust", 4, spectrogram["explanation_id"]),
        ("listener-001", features["recommended_track_id"], "trust", 3, features["explanation_id"]),
        # of another track, cut off, and none
        ("listener-001", of_people[1]["track_id"], "trust", 1, of_people[0]["explanation_id"]),
        ("listener-001", of_people[0]["track_id"], "trust", 1, of_people[0]["explanation_id"][:-1]),
        ("listener-001", of_people[0]["track_id"], "trust", 1, ""),
    ]
    names = ("user_id", "track_id", "kind", "value", "explanation_id")
    rows = [dict(zip(names, map(str, row), strict=True)) for row in said]
    write_csv(
        folder / "events" / "said.csv", [row | {"ts": f"2025-06-01T10:{at:02}:00Z"} for at, row in enumerate(rows)]
    )
    night.run(stages=("listen",))
    lists = _lists(night)
    victim = lists["listener-004"][0]
    where = f"user_id = 'listener-004' AND track_id = '{victim['track_id']}'"
    DeltaTable(folder / "warehouse" / "user_recommendations").update({"explanation": f"'{LIE}'"}, predicate=where)
    return night, lists


def test_each_explanation_has_a_name_and_what_is_said_of_it_is_no_preference(
    judged: tuple[Night, dict[str, list[dict[str, Any]]]], with_people: Night
) -> None:
    night, lists = judged
    rows = [row for of in lists.values() for row in of] + night.reader.rows("recommendations")
    assert len({row["explanation_id"] for row in rows}) == len(rows)
    assert {row["explanation_id"].split(".")[1] for row in rows} == {row["system"] for row in rows}
    assert night.rows("preferences") == with_people.rows("preferences")
    assert [row["code"] for row in night.rows("refused_events")] == ["unknown_explanation"] * 3
    assert sum(row["explanation_id"] is not None for row in night.rows("events")) == 6


def test_lists_reasons_and_what_people_say_of_them_are_measured(
    judged: tuple[Night, dict[str, list[dict[str, Any]]]],
) -> None:
    night, lists = judged
    few = ("evaluate.resamples=20", "evaluate.sample_tracks=5")
    found = evaluate(night.config(*few))
    by = {(of.system, of.metric, of.slice): of for of in found.measurements}
    assert not {name for name in found.left_out if name.startswith("people_")} - {"people_explanation_trust"}

    kinds = [row["explanation_id"].split(".")[2] for row in lists["listener-001"]]
    assert by["hybrid", "people_explanation_clear", ""].value == (np.mean([2, 5]) + 3) / 2
    assert by["hybrid", "people_explanation_clear", kinds[0]].n == 2
    trusted = [by[system, "explanation_trust", ""].value for system in ("spectrogram", "features")]
    assert trusted == [4, 3]

    true = by["hybrid", "people_explanation_truth", ""]
    assert not true.details  # what is told to a person is nobody else's concern
    assert true.value == pytest.approx(1 - 1 / len(lists["listener-004"]) / len(lists))
    assert by["hybrid", "people_explanation_error", ""].value < 1e-6

    _check_held_out_by_time(night, by)
    asked = by["hybrid", "people_novelty", "by user"].n
    assert asked <= 10
    assert by["hybrid", "people_novelty", "by user, cold people"].n == 10
    for system in ("hybrid", "content", "als", "item_based", "popularity", "average", "random"):
        for split in ("by time", "by user"):
            assert 0 <= by[system, "people_ndcg_at_10", split].value <= 1
    cold = "by user, cold people"
    assert by["als", "people_recall_at_10", cold].value == 0  # nothing is known of them by which it could tell


def _check_held_out_by_time(night: Night, by: dict[tuple[str, str, str], Measurement]) -> None:
    """Compare who is asked, and what random tracks are worth, with what plain loops over the events come to."""
    length = {row["track_id"]: row["duration_ms"] for row in night.rows("tracks")}
    events = [
        row | {"ts": round(row["ts"].timestamp() * 1e6), "duration_ms": length[row["track_id"]]}
        for row in night.rows("events", ())
        if row["explanation_id"] is None
    ]
    days = sorted({row["ts"] // 86_400_000_000 for row in events})
    shares = {day: np.mean([row["ts"] // 86_400_000_000 >= day for row in events]) for day in days[1:]}
    first = min(day for day in shares if shares[day] <= 0.2)
    rules = night.config().listeners.rules
    old, new = (
        expected([row for row in events if (row["ts"] // 86_400_000_000 < first) == is_old], rules)
        for is_old in (True, False)
    )
    liked = Counter(user for (user, track), (value, _) in new.items() if value > 0 and (user, track) not in old)
    heard = Counter(user for user, _ in old)
    chances = [count / (len(length) - heard[user]) for user, count in liked.items()]
    of = by["random", "people_precision_at_10", "by time"]
    assert (of.value, of.n) == (pytest.approx(np.mean(chances)), len(liked))
    assert by["hybrid", "people_recall_at_10", "by time"].n == len(liked)

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.neighbours import kernel
from specrec.neighbours.kernel import (
    Items,
    Queries,
    cosine,
    cosines_of,
    distances_of,
    euclidean,
    has_direction,
    nearest_cells,
    positions,
    runs,
    search,
    unit,
)


def _ids(n, prefix="t"):
    return np.array([f"{prefix}{i:05d}" for i in range(n)], object)


def _vectors(n, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)


def _items(vectors, ids, cells=None, floors=np.inf):
    cells = np.zeros(len(ids), np.int32) if cells is None else cells
    return Items(pa.array(list(ids), pa.string()), vectors, cells, np.broadcast_to(floors, len(ids)).astype(float))


def _queries(vectors, own, probes=None, thresholds=-np.inf, is_new=False):
    rows, cells = probes or (np.arange(len(vectors)), np.zeros(len(vectors)))
    return Queries(
        vectors=vectors,
        thresholds=np.broadcast_to(thresholds, len(vectors)).astype(float),
        own=np.array(own, np.int64),
        is_new=np.broadcast_to(is_new, len(vectors)),
        probe_rows=np.array(rows, np.int32),
        probe_cells=np.array(cells, np.int32),
    )


def top_pairs(queries, items, query_ids, item_ids, top_n):
    """Search where all items lie in one cell."""
    place = {item_id: at for at, item_id in enumerate(item_ids)}
    own = [place.get(query_id, -1) for query_id in query_ids]
    nearest, entering = search(_queries(queries, own), _items(items, item_ids), top_n)
    assert len(entering) == 0
    return nearest.rows, nearest.columns, nearest.cosines


def _brute(queries, items, query_ids, item_ids, top_n):
    """Every pair in float64, one after the other, sorted by cosine and then by id."""
    found = {}
    for query, query_id in zip(queries.astype(np.float64), query_ids, strict=True):
        listed = []
        for item, item_id in zip(items.astype(np.float64), item_ids, strict=True):
            if item_id != query_id:
                length = np.sqrt(np.dot(query, query) * np.dot(item, item))
                listed.append((-(np.dot(query, item) / length if length else 0.0), item_id))
        found[query_id] = sorted(listed)[:top_n]
    return found


def _lists(queries, items, query_ids, item_ids, top_n):
    rows, columns, cosines = top_pairs(queries, items, query_ids, item_ids, top_n)
    assert (np.diff(rows) >= 0).all()
    found = {query_id: [] for query_id in query_ids}
    for row, column, score in zip(rows, columns, cosines, strict=True):
        found[query_ids[row]].append((-score, item_ids[column]))
    return found


def _assert_equals_brute_force(queries, items, query_ids, item_ids, top_n):
    found = _lists(queries, items, query_ids, item_ids, top_n)
    expected = _brute(queries, items, query_ids, item_ids, top_n)
    for query_id, listed in found.items():
        np.testing.assert_allclose([s for s, _ in listed], [s for s, _ in expected[query_id]], atol=1e-12)
        best = {i: s for s, i in _brute_all(queries, items, query_ids, item_ids, query_id)}
        for score, item_id in listed:  # by id, too, except that equals may differ in the last bit
            assert best[item_id] == pytest.approx(score, abs=1e-12)
        assert listed == sorted(listed)
        assert len({item_id for _, item_id in listed}) == len(listed)
        assert query_id not in {item_id for _, item_id in listed}
    return found


def _brute_all(queries, items, query_ids, item_ids, query_id):
    at = list(query_ids).index(query_id)
    return _brute(queries[at : at + 1], items, query_ids[at : at + 1], item_ids, len(item_ids))[query_id]


@pytest.mark.parametrize("top_n", [1, 5, 39, 40, 100])
def test_random_vectors(top_n):
    vectors, ids = _vectors(40, 16), _ids(40)
    found = _assert_equals_brute_force(vectors, vectors, ids, ids, top_n)
    assert {len(listed) for listed in found.values()} == {min(top_n, 39)}
    expected = _brute(vectors, vectors, ids, ids, top_n)
    assert {q: [i for _, i in listed] for q, listed in found.items()} == {
        q: [i for _, i in listed] for q, listed in expected.items()
    }


# Few distinct values, so that duplicates, opposites, zero vectors and ties abound; ids come in any order.
_SMALL = st.integers(-2, 2).map(float)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_small_integers_with_duplicates_and_zeros(data):
    dimensions = data.draw(st.integers(1, 3))
    rows = st.lists(_SMALL, min_size=dimensions, max_size=dimensions)
    vectors = np.array(data.draw(st.lists(rows, min_size=1, max_size=24)), np.float32).reshape(-1, dimensions)
    ids = np.array(data.draw(st.permutations(list(_ids(len(vectors))))), object)
    queries = np.array(sorted(data.draw(st.sets(st.integers(0, len(ids) - 1), min_size=1))))
    top_n = data.draw(st.integers(1, 30))
    _assert_equals_brute_force(vectors[queries], vectors, ids[queries], ids, top_n)


@pytest.mark.parametrize("vector", [np.float32([0.1, 0.7, -0.3]), np.zeros(3, np.float32)])
def test_among_hundreds_of_copies_the_least_ids_win(vector):
    copies = 300
    vectors = np.concatenate([np.tile(vector, (copies, 1)), _vectors(20, 3)])
    ids = _ids(len(vectors))
    order = np.random.default_rng(2).permutation(len(vectors))
    found = _lists(vectors[order], vectors[order], ids[order], ids[order], 10)
    nearest = [item_id for _, item_id in found["t00100"]]
    if vector.any():
        assert nearest == list(_ids(10))
        assert [item_id for _, item_id in found["t00003"]] == [i for i in _ids(11) if i != "t00003"]
    else:
        assert nearest == list(_ids(10))  # similar to nothing: 0 with all of them
        assert all(score == 0 for score, _ in found["t00100"])


def test_copies_do_not_change_what_is_found_when_candidates_are_cut_into_slices(monkeypatch):
    vectors = np.concatenate([np.tile(_vectors(1, 8), (120, 1)), _vectors(60, 8, seed=1)])
    ids = _ids(len(vectors))
    whole = top_pairs(vectors, vectors, ids, ids, 7)
    for at_once in (1, 50, 121, 1000):
        monkeypatch.setattr(kernel, "_PAIRS_AT_ONCE", at_once)
        for one, other in zip(whole, top_pairs(vectors, vectors, ids, ids, 7), strict=True):
            np.testing.assert_array_equal(one, other)


def test_items_that_float32_cannot_tell_apart_are_ordered_by_float64():
    query = np.zeros((1, 64), np.float32)
    query[0, 0] = 1
    items = np.zeros((50, 64), np.float32)
    items[:, 0] = 1
    items[:, 1] = np.random.default_rng(0).permutation(np.arange(1, 51)) * 1e-5  # cosines differ by less than 1e-7
    found = _lists(query, items, np.array(["q"], object), _ids(50), 10)["q"]
    smallest = np.argsort(items[:, 1])[:10]
    assert [item_id for _, item_id in found] == list(_ids(50)[smallest])


@pytest.mark.parametrize(("queries", "items"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_search(queries, items):
    rows, columns, cosines = top_pairs(_vectors(queries, 4), _vectors(items, 4), _ids(queries), _ids(items), 3)
    assert len(rows) == len(columns) == len(cosines) == 0


def test_one_item():
    vector, one = _vectors(1, 4), _ids(1)
    assert len(top_pairs(vector, vector, one, one, 3)[0]) == 0
    assert _lists(vector, vector, np.array(["q"], object), one, 3)["q"] == [(pytest.approx(-1), "t00000")]


def test_a_query_that_is_no_item_gets_a_full_list():
    vectors = _vectors(6, 4)
    for query_id in ("a", "t00002x", "z"):  # before, among and after the items
        assert len(_lists(vectors[:1], vectors, np.array([query_id], object), _ids(6), 6)[query_id]) == 6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 59), top_n=st.integers(1, 20))
def test_lists_do_not_depend_on_how_items_are_cut_into_blocks(seed, cut, top_n):
    vectors = np.round(_vectors(60, 5, seed))  # rounded: ties on both sides of the cut
    ids = np.random.default_rng(seed).permutation(_ids(60))
    whole = _lists(vectors, vectors, ids, ids, top_n)
    left = _lists(vectors, vectors[:cut], ids, ids[:cut], top_n)
    right = _lists(vectors, vectors[cut:], ids, ids[cut:], top_n)
    for query_id in ids:
        assert sorted(left[query_id] + right[query_id])[:top_n] == whole[query_id]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dimensions", [1, 7, 64, 174, 300])
def test_a_cosine_is_the_same_to_the_last_bit_whatever_else_is_in_the_batch(dimensions, order):
    a = np.asarray(_vectors(200, dimensions), order=order)
    b = np.asarray(_vectors(200, dimensions, seed=1), order=order)
    whole, distances = cosine(a, b), euclidean(a, b)
    rng = np.random.default_rng(3)
    subsets = [rng.permutation(200)[:size] for size in (1, 2, 3, 17, 199)] + [np.array([i]) for i in range(20)]
    for subset in subsets:
        np.testing.assert_array_equal(cosine(a[subset], b[subset]), whole[subset])
        np.testing.assert_array_equal(euclidean(a[subset], b[subset]), distances[subset])
        np.testing.assert_array_equal(cosine(b[subset], a[subset]), whole[subset])  # either way round


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_cosines_do_not_depend_on_length(size):
    a, b = _vectors(20, 8), _vectors(20, 8, seed=1)
    np.testing.assert_allclose(cosine(a * np.float32(size), b), cosine(a, b), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(unit(a * np.float32(size)), axis=1), 1, atol=1e-6)


def test_cosines_and_distances_agree():
    a, b = unit(_vectors(50, 8)), unit(_vectors(50, 8, seed=1))
    np.testing.assert_allclose(euclidean(a, b) ** 2, 2 - 2 * cosine(a, b), atol=1e-6)
    assert cosine(a, a) == pytest.approx(1, abs=1e-15)
    assert cosine(a, -a) == pytest.approx(-1, abs=1e-15)
    assert (np.abs(cosine(a, a)) <= 1).all()


def test_a_zero_vector_is_similar_to_nothing():
    zero, others = np.zeros((3, 4), np.float32), _vectors(3, 4)
    assert (cosine(zero, others) == 0).all()
    assert (cosine(zero, zero) == 0).all()
    assert (unit(zero) == 0).all()


def test_no_cosine_is_beyond_one_by_rounding():
    a = _vectors(2000, 7)
    assert cosine(a, a).max() == 1
    assert cosine(a, -a).min() == -1


def test_what_is_zero_or_not_finite_has_no_direction():
    rows = [[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [3e38, 3e38], [0, 1e-45], [-1, -2]]
    found = has_direction(np.array(rows, np.float32))
    assert found.dtype == np.bool_
    assert found.tolist() == [True, False, False, False, True, True, True]


def test_cosines_and_distances_of_pairs_are_those_of_their_rows(monkeypatch):
    a, b = _vectors(9, 5), _vectors(7, 5, seed=1)
    rows, columns = np.array([8, 0, 3, 3, 5]), np.array([6, 6, 0, 2, 1])
    for at_once in (1, 2, 5, 100):
        monkeypatch.setattr(kernel, "_PAIRS_AT_ONCE", at_once)
        np.testing.assert_array_equal(cosines_of(a, rows, b, columns), cosine(a[rows], b[columns]))
        expected = np.linalg.norm(a[rows].astype(float) - b[columns], axis=1)
        np.testing.assert_allclose(distances_of(a, rows, b, columns), expected, rtol=1e-12)
    none = np.zeros(0, np.int64)
    assert cosines_of(a, none, b, none).shape == distances_of(a, none, b, none).shape == (0,)


def test_vectors_that_differ_in_a_bit_are_no_copies():
    bits = np.float32(1).view(np.uint32) + np.arange(150, dtype=np.uint32)
    vectors = np.stack(np.meshgrid(bits, bits), axis=-1).reshape(-1, 2).view(np.float32)
    assert not _items(vectors, _ids(len(vectors))).copy_number.any()
    twice = _items(np.concatenate([vectors[:100], vectors[:100]]), _ids(200))
    assert twice.copy_number.tolist() == [0] * 100 + [1] * 100


@given(st.lists(st.integers(0, 3), max_size=20))
def test_positions_count_from_zero_in_every_run(values):
    group = np.array(values, np.int64)
    expected, previous = [], None
    for value in values:
        expected.append(expected[-1] + 1 if value == previous else 0)
        previous = value
    assert positions(group).tolist() == expected


@settings(max_examples=60)
@given(data=st.data())
def test_every_query_meets_just_the_cells_that_it_probes(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    vectors = np.round(rng.standard_normal((40, 4)), 1).astype(np.float32) + np.float32(0.01)
    cells = np.sort(rng.integers(0, 5, 40)).astype(np.int32)
    ids, top_n = rng.permutation(_ids(40)), data.draw(st.integers(1, 8))
    probes = np.nonzero(rng.random((40, 5)) < 0.5)
    threshold = data.draw(st.sampled_from([-np.inf, 0.0, 0.9]))
    queries = _queries(vectors, np.arange(40), probes, thresholds=threshold)
    nearest, _ = search(queries, _items(vectors, ids, cells), top_n)
    for row in range(40):
        seen = np.flatnonzero(np.isin(cells, probes[1][probes[0] == row]) & (np.arange(40) != row))
        cosines = cosine(vectors[np.full(len(seen), row)], vectors[seen])
        expected = sorted((-c, ids[i]) for c, i in zip(cosines, seen, strict=True) if c >= threshold)[:top_n]
        mine = nearest.rows == row
        assert [ids[i] for i in nearest.columns[mine]] == [item_id for _, item_id in expected]
        np.testing.assert_array_equal(nearest.cosines[mine], [-score for score, _ in expected])


def test_a_new_query_enters_just_the_lists_whose_floor_it_reaches():
    vectors, others = _vectors(30, 6), _vectors(5, 6, seed=1)
    pairs = cosine(others[np.repeat(np.arange(5), 30)], vectors[np.tile(np.arange(30), 5)]).reshape(5, 30)
    floors = np.sort(pairs, axis=0)[3]  # of each item: the second nearest of the five queries
    floors[:3] = [-np.inf, np.inf, pairs[0, 2]]  # a list that is not full, one that is closed, one that is equalled
    is_new = np.array([True, True, True, False, True])
    _, entering = search(
        _queries(others, np.full(5, -1), is_new=is_new), _items(vectors, _ids(30), None, floors), 3
    )
    expected = np.argwhere((pairs >= floors) & is_new[:, None])
    found = sorted(zip(entering.rows.tolist(), entering.columns.tolist(), strict=True))
    assert found == [tuple(pair) for pair in expected.tolist()]
    np.testing.assert_array_equal(entering.cosines, pairs[entering.rows, entering.columns])


def _in_cells(n_cells=4, each=30, dimensions=6):
    """Vectors in cells, and queries of which each probes two or three of them."""
    rng = np.random.default_rng(11)
    vectors = rng.standard_normal((n_cells * each, dimensions)).astype(np.float32)
    cells = np.repeat(np.arange(n_cells), each).astype(np.int32)
    probes = np.nonzero((np.arange(len(cells))[:, None] + np.arange(n_cells)) % n_cells != 1)
    return vectors, cells, probes


def test_a_new_query_enters_lists_in_each_cell_that_it_probes_but_never_its_own():
    vectors, cells, probes = _in_cells()
    floors = np.full(len(cells), 0.3)
    floors[::7] = -np.inf  # lists that are not full
    is_new = np.arange(len(cells)) % 3 > 0
    queries = _queries(vectors, np.arange(len(cells)), probes, is_new=is_new)
    _, entering = search(queries, _items(vectors, _ids(len(cells)), cells, floors), 5)
    meets = np.zeros((len(cells), 4), bool)
    meets[probes] = True
    unit64 = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    expected = (unit64 @ unit64.T >= floors) & meets[:, cells] & is_new[:, None] & ~np.eye(len(cells), dtype=bool)
    found = np.zeros_like(expected)
    found[entering.rows, entering.columns] = True
    np.testing.assert_array_equal(found, expected)
    assert len(entering) == expected.sum()


def test_a_threshold_that_is_equalled_is_reached_and_others_have_none():
    vectors, ids = _vectors(30, 6), _ids(30)
    whole, _ = search(_queries(vectors, np.arange(30)), _items(vectors, ids), 5)
    thresholds = np.full(30, -np.inf)
    thresholds[::2] = whole.cosines.reshape(30, 5)[::2, 2]  # the third best
    some, _ = search(_queries(vectors, np.arange(30), thresholds=thresholds), _items(vectors, ids), 5)
    assert np.bincount(some.rows).tolist() == [3, 5] * 15
    best = np.tile(np.arange(5), 30)
    np.testing.assert_array_equal(some.columns, whole.columns[(best < 3) | (whole.rows % 2 > 0)])


def test_what_misses_a_threshold_or_a_floor_by_the_last_digit_is_left_out():
    """Products in float32, by which candidates are chosen, tell no such digits apart."""
    vectors, ids = _vectors(30, 6), _ids(30)
    whole, _ = search(_queries(vectors, np.arange(30)), _items(vectors, ids), 5)
    third = np.nextafter(whole.cosines.reshape(30, 5)[:, 2], 2)
    some, _ = search(_queries(vectors, np.arange(30), thresholds=third), _items(vectors, ids), 5)
    assert np.bincount(some.rows).tolist() == [2] * 30
    others = _vectors(5, 6, seed=1)
    pairs = cosine(others[np.repeat(np.arange(5), 30)], vectors[np.tile(np.arange(30), 5)]).reshape(5, 30)
    floors = np.nextafter(np.sort(pairs, axis=0)[3], 2)  # just above the second nearest of the queries
    _, entering = search(_queries(others, np.full(5, -1), is_new=True), _items(vectors, ids, None, floors), 3)
    np.testing.assert_array_equal(np.sort(entering.columns), np.arange(30))
    np.testing.assert_array_equal(entering.rows[np.argsort(entering.columns)], pairs.argmax(axis=0))


def test_an_opposite_is_found_where_there_is_no_other():
    """Its product in float32 may be less than -1."""
    vectors, alone = _vectors(200, 16), np.arange(200)
    queries = _queries(vectors, np.full(200, -1), (alone, alone))
    nearest, _ = search(queries, _items(-2 * vectors, _ids(200), alone.astype(np.int32)), 3)
    assert nearest.rows.tolist() == nearest.columns.tolist() == alone.tolist()
    np.testing.assert_allclose(nearest.cosines, -1, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 64, 512, 2048])
def test_products_of_unit_vectors_err_by_less_than_what_is_allowed_for(dimensions):
    random = np.random.default_rng(dimensions)
    for a in (random.standard_normal((16, dimensions)), random.uniform(0, 1, (16, dimensions))):
        vectors = np.concatenate([a, a * (1 + 1e-3 * random.standard_normal(a.shape))]).astype(np.float32)
        products = unit(vectors) @ unit(vectors).T
        rows, columns = np.indices(products.shape)
        exact = cosines_of(vectors, rows.ravel(), vectors, columns.ravel()).reshape(products.shape)
        assert np.abs(products - exact).max() < kernel._SLACK / 2  # two of them are compared


def test_the_least_ids_of_copies_win_in_every_cell():
    vectors, cells, probes = _in_cells()
    for cell in range(1, 4):  # in each but the first, all but five are copies
        vectors[30 * cell + 5 : 30 * cell + 30] = vectors[30 * cell + 5]
    ids = np.random.default_rng(4).permutation(_ids(len(cells)))
    nearest, _ = search(_queries(vectors, np.arange(len(cells)), probes), _items(vectors, ids, cells), 6)
    for row in range(len(cells)):
        seen = np.flatnonzero(np.isin(cells, probes[1][probes[0] == row]) & (np.arange(len(cells)) != row))
        cosines = cosine(vectors[np.full(len(seen), row)], vectors[seen])
        expected = sorted((-c, ids[i]) for c, i in zip(cosines, seen, strict=True))[:6]
        assert [ids[i] for i in nearest.columns[nearest.rows == row]] == [item_id for _, item_id in expected]


def test_no_more_products_are_in_memory_than_allowed(monkeypatch):
    vectors, cells, probes = _in_cells()
    sizes = []

    def limits(thresholds, products, top_n, of=kernel._limits):
        sizes.append(products.size)
        return of(thresholds, products, top_n)

    queries, items = _queries(vectors, np.arange(len(cells)), probes), _items(vectors, _ids(len(cells)), cells)
    whole, _ = search(queries, items, 5)
    monkeypatch.setattr(kernel, "_limits", limits)
    monkeypatch.setattr(kernel, "_PRODUCTS_AT_ONCE", 215)  # seven rows of 30
    for one, other in zip(vars(search(queries, items, 5)[0]).values(), vars(whole).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sizes == ([210] * 12 + [180]) * 4  # of the 90 queries that probe each cell
    monkeypatch.setattr(kernel, "_PRODUCTS_AT_ONCE", 1)  # a row at a time is the least
    for one, other in zip(vars(search(queries, items, 5)[0]).values(), vars(whole).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("top_n", [4, 5])
def test_few_cosines_are_settled_where_products_tell_candidates_apart(monkeypatch, top_n):
    vectors, cells, probes = _in_cells()
    settled, candidates = [], []

    def counting(a, rows, b, columns, of=kernel.cosines_of):
        settled.append(len(rows))
        return of(a, rows, b, columns)

    def prune(rows, products, top_n, of=kernel._prune):
        candidates.append(len(rows))
        return of(rows, products, top_n)

    monkeypatch.setattr(kernel, "cosines_of", counting)
    monkeypatch.setattr(kernel, "_prune", prune)
    search(_queries(vectors, np.arange(len(cells)), probes), _items(vectors, _ids(len(cells)), cells), top_n)
    assert candidates == [top_n * len(probes[0])]  # of each cell that a query probes, its nearest
    assert settled == [top_n * len(cells), 0]  # of these, the nearest of all; and none that enter lists


def test_thousands_of_copies_take_little_memory(monkeypatch):
    copies, top_n, most = 3000, 10, 0
    vectors = np.concatenate([np.tile(_vectors(1, 8), (copies, 1)), _vectors(100, 8, seed=1)])
    ids = np.random.default_rng(5).permutation(_ids(len(vectors)))

    def counting(a, rows, b, columns, of=kernel.cosines_of):
        nonlocal most
        most = max(most, len(rows))
        return of(a, rows, b, columns)

    monkeypatch.setattr(kernel, "cosines_of", counting)
    rows, columns, _ = top_pairs(vectors, vectors, ids, ids, top_n)
    assert most <= 3 * top_n * len(vectors)
    least = sorted(ids[:copies])[: top_n + 1]
    for row in (0, 17, int(np.flatnonzero(ids == least[0])[0])):
        assert list(ids[columns[rows == row]]) == [item_id for item_id in least if item_id != ids[row]][:top_n]


def test_near_copies_are_settled_before_they_fill_the_memory(monkeypatch):
    vectors = (1 + 1e-7 * np.random.default_rng(0).integers(0, 9, (400, 8))).astype(np.float32)
    ids = _ids(400)
    whole = _lists(vectors, vectors, ids, ids, 2)
    monkeypatch.setattr(kernel, "_CROWD", 1 << 20)
    assert _lists(vectors, vectors, ids, ids, 2) == whole


def test_near_copies_in_several_cells_are_settled_cell_by_cell(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = np.repeat((1 + 1e-7 * rng.integers(0, 9, (120, 8))).astype(np.float32), 2, axis=0)
    cells, ids = np.repeat(np.arange(3), 80).astype(np.int32), rng.permutation(_ids(240))
    queries = _queries(vectors, np.arange(240), np.nonzero(np.ones((240, 3))))
    candidates = []

    def prune(rows, products, top_n, of=kernel._prune):
        candidates.append(len(rows))
        return of(rows, products, top_n)

    monkeypatch.setattr(kernel, "_prune", prune)
    nearest, _ = search(queries, _items(vectors, ids, cells), 2)
    assert candidates == [2 * 3 * 240]  # of each cell two a query, of 80 that float32 cannot tell apart
    for row in range(240):
        others = np.flatnonzero(np.arange(240) != row)
        cosines = cosine(vectors[np.full(239, row)], vectors[others])
        best = others[np.lexsort((ids[others], -cosines))[:2]]
        assert nearest.columns[nearest.rows == row].tolist() == best.tolist()


@settings(max_examples=60)
@given(data=st.data())
def test_nearest_cells_among_many_that_are_equal(data):
    vectors, centroids = (
        np.array(data.draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 2), min_size=1, max_size=most)), np.float32)
        for most in (6, 12)
    )
    probes = data.draw(st.integers(1, len(centroids)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_PRODUCTS_AT_ONCE", data.draw(st.sampled_from([1, 3 * len(centroids), 1 << 22])))
        found = np.sort(nearest_cells(vectors, centroids, probes), axis=1)
    for row, vector in zip(found, vectors, strict=True):
        cosines = cosine(np.tile(vector, (len(centroids), 1)), centroids)
        assert row.tolist() == sorted(np.lexsort((np.arange(len(centroids)), -cosines))[:probes].tolist())


def test_no_more_vectors_are_compared_with_centroids_at_once_than_allowed(monkeypatch):
    vectors, centroids = _vectors(40, 8), _vectors(20, 8, seed=1)
    whole, sizes = nearest_cells(vectors, centroids, 3), []

    def counting(vectors, of=kernel.unit):
        sizes.append(len(vectors))
        return of(vectors)

    monkeypatch.setattr(kernel, "unit", counting)
    monkeypatch.setattr(kernel, "_PRODUCTS_AT_ONCE", 119)
    np.testing.assert_array_equal(nearest_cells(vectors, centroids, 3), whole)
    assert sizes == [20] + [5] * 8


@pytest.mark.parametrize("probes", [1, 2, 3, 15, 20])
def test_nearest_cells_are_those_of_the_highest_cosine(probes):
    vectors, centroids = _vectors(200, 8), _vectors(20, 8, seed=1)
    centroids[7] = centroids[3]  # a tie: the lesser number goes first
    found = np.sort(nearest_cells(vectors, centroids, probes), axis=1)
    for row in range(200):
        cosines = cosine(np.tile(vectors[row], (20, 1)), centroids)
        assert found[row].tolist() == sorted(np.lexsort((np.arange(20), -cosines))[:probes].tolist())


@pytest.mark.parametrize("probes", [1, 4, 29])
def test_nearest_cells_are_told_apart_where_float32_cannot(probes):
    random = np.random.default_rng(2)
    vectors = _vectors(40, 16)
    centroids = (_vectors(1, 16) * (1 + 3e-7 * random.standard_normal((30, 16)))).astype(np.float32)
    found = np.sort(nearest_cells(vectors, centroids, probes), axis=1)
    for row, vector in zip(found, vectors, strict=True):
        cosines = cosine(np.tile(vector, (30, 1)), centroids)
        assert row.tolist() == sorted(np.lexsort((np.arange(30), -cosines))[:probes].tolist())


def test_more_probes_than_cells_are_all_cells():
    found = nearest_cells(_vectors(3, 4), _vectors(2, 4, seed=1), 5)
    assert found.tolist() == [[0, 1]] * 3


def test_nearest_cells_do_not_depend_on_what_else_is_asked():
    vectors, centroids = _vectors(300, 64), _vectors(50, 64, seed=1)
    centroids[25:] = centroids[:25] * (1 + np.float32(1e-7))  # which float32 cannot tell apart
    whole = np.sort(nearest_cells(vectors, centroids, 7), axis=1)
    for size in (1, 3, 64):
        for start in range(0, 300, 100):
            some = np.sort(nearest_cells(vectors[start : start + size], centroids, 7), axis=1)
            np.testing.assert_array_equal(some, whole[start : start + size])


def test_runs_are_found_with_their_places():
    assert [(value, at.start, at.stop) for value, at in runs(np.array([4, 4, 1, 1, 1, 4]))] == [
        (4, 0, 2),
        (1, 2, 5),
        (4, 5, 6),
    ]
    assert list(runs(np.zeros(0, np.int64))) == []


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 2000), st.integers(1, 4))
def test_as_many_values_as_are_wanted_reach_the_last_of_the_best_and_hardly_more(
    seed: int, rows: int, columns: int, top_n: int
) -> None:
    values = np.random.default_rng(seed).permuted(np.tile(np.arange(columns, dtype=np.float32), (rows, 1)), axis=1)
    last = kernel.last_of_best(values, top_n)
    if columns <= top_n:
        assert np.isneginf(last).all()
    else:
        reached = (values >= last[:, None]).sum(axis=1)
        assert (reached >= top_n).all()
        # of `top_n` groups each can hold others, which are greater than the least of the groups' greatest
        assert (reached <= top_n if columns < 64 * 4 * top_n else reached < 64 * top_n).all()

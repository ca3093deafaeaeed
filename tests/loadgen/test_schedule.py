from itertools import islice, pairwise

from headrace.loadgen.schedule import Phase, Quota, poisson_offsets, share, spread_lengths


def test_shares_add_up_and_differ_by_one_at_most() -> None:
    shares = [share(10, index, 4) for index in range(4)]
    assert sum(shares) == 10
    assert max(shares) - min(shares) <= 1


def test_first_wave_lengths_cover_one_to_all_evenly() -> None:
    lengths = spread_lengths(512, 64, seed=1)
    ordered = sorted(lengths)
    assert lengths != ordered
    assert ordered[0] >= 1
    assert ordered[-1] <= 512
    assert all(8 * slot <= length - 1 <= 8 * slot + 8 for slot, length in enumerate(ordered))


def test_first_wave_of_one_token_streams() -> None:
    assert spread_lengths(1, 5, seed=0) == [1] * 5


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_stream() -> None:
    offsets = list(islice(poisson_offsets(50.0, "a"), 5000))
    gaps = [after - before for before, after in pairwise(offsets)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert abs(mean * 50 - 1) < 0.05
    assert abs(deviation / mean - 1) < 0.1
    assert offsets == list(islice(poisson_offsets(50.0, "a"), 5000))


def test_a_quota_counts_out_then_fills() -> None:
    quota = Quota(2, fill=True)
    assert [quota.take() for _ in range(3)] == [Phase.MEASURED, Phase.MEASURED, Phase.FILL]
    quota.ended()
    assert quota.left == 1


def test_a_quota_without_fill_ends() -> None:
    quota = Quota(1, fill=False)
    assert [quota.take() for _ in range(2)] == [Phase.MEASURED, None]


def test_no_quota_measures_on() -> None:
    quota = Quota(None, fill=True)
    quota.ended()
    assert quota.take() is Phase.MEASURED
    assert quota.left is None

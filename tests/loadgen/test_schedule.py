from headrace.loadgen.schedule import Phase, Quota, share, spread_lengths


def test_shares_add_up_and_differ_by_one_at_most() -> None:
    shares = [share(10, index, 4) for index in range(4)]
    assert sum(shares) == 10
    assert max(shares) - min(shares) <= 1


def test_first_wave_lengths_cover_one_to_all_evenly() -> None:
    lengths = spread_lengths([512], 64, seed=1)
    ordered = sorted(lengths)
    assert lengths != ordered
    assert ordered[0] >= 1
    assert ordered[-1] <= 512
    assert all(8 * slot <= length - 1 <= 8 * slot + 8 for slot, length in enumerate(ordered))


def test_first_wave_is_the_same_however_often_the_table_repeats_a_length() -> None:
    assert spread_lengths([96] * 4096, 48, seed=2) == spread_lengths([96], 48, seed=2)
    assert spread_lengths([9, 5, 9, 5], 48, seed=2) == spread_lengths([5, 9], 48, seed=2)


def test_first_wave_of_one_token_streams() -> None:
    assert spread_lengths([1], 5, seed=0) == [1] * 5


def test_first_wave_of_mixed_answers_has_long_ones_as_often_as_they_take_time() -> None:
    lengths = spread_lengths([100, 900], 10_000, seed=0)
    over = sum(length > 100 for length in lengths) / len(lengths)
    assert abs(over - 0.8) < 0.01  # 90 % are in a long answer, 8/9 of them over 100 from its end


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

"""The token account: full speed while answers come, the grant when none do."""

import pytest

from meshlearn.protocol.tokens import TokenAccount
from meshlearn.wire.generator import Generator


def test_a_full_account_begins_at_every_tick_while_it_is_answered():
    account, generator = TokenAccount(10, 0.1), Generator(1)
    for _ in range(1000):
        assert account.tick(generator)
        account.spend()
        account.refund()
    assert account.balance == 10.0


@pytest.mark.parametrize("grant", [0.05, 0.1, 0.3])
def test_an_account_that_is_not_answered_falls_back_to_its_grant(grant):
    account, generator = TokenAccount(10, grant), Generator(2)
    begun = []
    for _ in range(6000):
        begun.append(account.tick(generator))
        if begun[-1]:
            account.spend()
    assert sum(begun[:20]) >= 5, "a full account has something to spend"
    late = sum(begun[1000:]) / 5000
    assert late == pytest.approx(grant, rel=0.05)
    assert 0.0 <= account.balance < 10.0


def test_the_balance_never_passes_the_capacity():
    account, generator = TokenAccount(3, 0.5), Generator(3)
    for _ in range(10):
        account.tick(generator)
        account.refund()
        assert account.balance == 3.0


def test_a_word_is_drawn_only_where_there_is_a_token():
    account, generator = TokenAccount(10, 0.1), Generator(4)
    account.balance = 0.5
    before = generator.state()
    assert not account.tick(generator)
    assert generator.state() == before
    account.balance = 2.0
    account.tick(generator)
    assert generator.state() != before

"""Whose turn it is: new pairs, shared ones, disagreements, second opinions."""

from robustcmr.audit.labels import Label
from robustcmr.review.items import SHARED, Item, at_odds, key_of, turns

IDS = [f"p{number}" for number in range(10)]


def said(id, by, verdict="right", undo=False, key=""):
    return Label(id, verdict, by, "2026-01-01T00:00:00+00:00", 0, 0.5, undo, key)


def ids(labels, by, **more):
    return [(turn.id, turn.why) for turn in turns(IDS, labels, by, **more)]


def test_one_reviewer_gets_all_pairs_in_order():
    assert ids([], "Ada") == [(key, "new") for key in IDS]
    assert ids([said("p0", "Ada")], "Ada") == [(key, "new") for key in IDS[1:]]


def test_reviewers_share_every_fifth_pair_and_split_the_rest():
    labels = [said(key, "Ada") for key in IDS[:6]]
    assert ids(labels, "Bo") == [(key, "new") for key in ("p0", "p5", "p6", "p7", "p8", "p9")]
    assert SHARED == 5
    labels += [said(key, "Bo") for key in ("p0", "p5", "p6", "p7", "p8", "p9")]
    assert ids(labels, "Ada") == []
    assert ids(labels, "Ada", second=True) == [(key, "second") for key in ("p6", "p7", "p8", "p9")]


def test_disagreements_come_back_at_the_end_to_both():
    labels = [said("p0", "Ada"), said("p0", "Bo", "wrong")]
    for name in ("Ada", "Bo"):
        assert ids(labels, name)[-1] == ("p0", "again")
        assert ids(labels, name)[0] == ("p1", "new")
    assert ("p0", "again") not in ids(labels, "Cy")
    assert at_odds([*labels, said("p0", "Ada", "wrong")], "Bo") == set()  # settled


def test_a_disagreement_comes_back_once_unless_somebody_changes_it():
    labels = [said("p0", "Ada"), said("p0", "Bo", "wrong"), said("p0", "Ada", "right", key="1")]
    assert at_odds(labels, "Ada") == set()  # has looked again
    assert at_odds(labels, "Bo") == {"p0"}
    labels.append(said("p0", "Bo", "wrong"))  # stays with it
    assert at_odds(labels, "Ada") == at_odds(labels, "Bo") == set()
    labels.append(said("p0", "Bo", "partly"))
    assert at_odds(labels, "Ada") == {"p0"}
    assert at_odds([*labels[:3], said("p0", "Ada", key="1", undo=True)], "Ada") == {"p0"}


def test_being_unsure_is_no_disagreement():
    assert at_odds([said("p0", "Ada"), said("p0", "Bo", "unsure")], "Ada") == set()


def test_keys_are_of_safe_letters_alone():
    assert set(key_of("../../etc/passwd\ud800")) <= set("0123456789abcdef")
    assert key_of("a") != key_of("b")
    item = Item("a", "HTTPS://example.org/a.jpg", "b", None, 0, 1.0)
    assert item.link == item.image

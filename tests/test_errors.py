"""How messages name things."""

from compact_vit.errors import listed, printable


def test_names_on_one_line():
    names = {"a b/ü 猫.png": None, "a\nb\t": r"a\nb\t", "\udcff\u2028\x7f": r"\udcff\u2028\x7f"}
    for name, wanted in names.items():
        shown = printable(name)
        assert shown == (wanted or name)
        assert len(shown.splitlines()) == 1
        shown.encode()
        assert printable(shown) == shown


def test_the_first_of_many_and_how_many_more():
    assert listed([]) == "none"
    assert listed(iter(["cat", "d\nog"])) == r"cat, d\nog"
    assert listed("abcdefgh") == "a, b, c, d, e, f, g, h"
    assert listed(map(str, range(2_000)), most=1) == "0 and 1,999 more"

from engage.seeds import derive_seed


def test_the_same_parts_give_the_same_seed_on_every_platform():
    assert derive_seed(7, "es-0001", "0.1.2", 3) == derive_seed("7", "es-0001", "0.1.2", "3") == 2779512988782314749


def test_parts_do_not_run_together():
    assert derive_seed("ab", "c") != derive_seed("a", "bc")

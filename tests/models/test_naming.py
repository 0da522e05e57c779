from act.models.naming import unknown_name


def test_nearest_name_is_suggested_and_all_are_listed() -> None:
    message = unknown_name("model", "resnet21", ["resnet18", "resnet20", "resnet32"])
    assert message == ("unknown model 'resnet21': did you mean 'resnet20'? known models: resnet18, resnet20, resnet32")


def test_nothing_is_suggested_for_something_else_altogether() -> None:
    assert "did you mean" not in unknown_name("model", "xyz", ["resnet18"])
    assert unknown_name("key", "a", []) == "unknown key 'a': known keys: none"

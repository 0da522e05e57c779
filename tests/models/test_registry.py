import pytest
from act.models.registry import ModelError, ModelSpec, create_model, default_arguments, list_models, register_model
from act.models.resnet_cifar import resnet20


def test_names_match_a_pattern_in_natural_order() -> None:
    assert list_models("resnet[25]*") == ["resnet20", "resnet50", "resnet56"]
    assert {"lenet5", "vgg16", "mobilenet_v2", "resnet18", "resnet34", "resnet32", "resnet44"} <= set(list_models())
    assert list_models("nothing*") == []


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="unknown model 'resnet21': did you mean 'resnet20'"):
        create_model("resnet21")
    with pytest.raises(ModelError, match="did you mean 'vgg16'"):
        default_arguments("vgg61", num_classes=10, image_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"steem": "cifar"}, "did you mean 'stem'"),
        ({"stem": "mnist"}, "one of 'cifar', 'imagenet'"),
        ({"num_classes": 0}, "at least 1"),
        ({"num_classes": True}, "at least 1"),
        ({"num_classes": "ten"}, "at least 1"),
        ({"in_channels": 2.5}, "at least 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, int | float | str], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        create_model("resnet18", **arguments)


def test_values_that_a_layer_refuses_are_an_error_of_the_model() -> None:
    with pytest.raises(ModelError, match="dropout"):
        create_model("mobilenet_v2", dropout=2.0)
    with pytest.raises(ModelError, match="cannot be made"):
        create_model("resnet20", num_classes=10**15)


def test_arguments_follow_from_the_data() -> None:
    digits, imagenet = (1, 8, 8), (3, 224, 200)
    assert default_arguments("resnet20", num_classes=7, image_shape=digits) == {"in_channels": 1, "num_classes": 7}
    assert default_arguments("resnet18", num_classes=7, image_shape=digits)["stem"] == "cifar"
    assert default_arguments("vgg16", num_classes=7, image_shape=imagenet) == {
        "in_channels": 3,
        "num_classes": 7,
        "stem": "imagenet",
        "image_height": 224,
        "image_width": 200,
    }
    assert default_arguments("lenet5", num_classes=7, image_shape=digits)["image_height"] == 8
    own = default_arguments("package.module:factory", num_classes=7, image_shape=digits)
    assert own == {"in_channels": 1, "num_classes": 7}


def test_spec_survives_a_file_and_says_whether_it_is_code() -> None:
    spec = ModelSpec(name="resnet18", arguments={"stem": "cifar", "num_classes": 10})
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert not spec.is_code
    assert ModelSpec(name="os:system").is_code


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], "must be an object"),
        ({"arguments": {}}, "non-empty string"),
        ({"name": 3}, "non-empty string"),
        ({"name": "resnet20", "argumnets": {}}, "did you mean 'arguments'"),
        ({"name": "resnet20", "arguments": []}, "must be an object"),
        ({"name": "resnet20", "arguments": {"num_classes": None}}, "must be a number"),
        ({"name": "resnet20", "arguments": {"num_classes": [10]}}, "must be a number"),
    ],
)
def test_damaged_specs_are_refused(record: object, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        ModelSpec.from_dict(record)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ModelError, match="registered already"):
        register_model(resnet20)

"""The paper's experiments on a folder of images: the reader, and the preset `imagenet` itself on a tiny
generated folder."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

SIZES = ((60, 48), (48, 60), (50, 50), (300, 40))

pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Two classes of four images for training and two for the test; the class of a brighter image comes
    second."""
    place, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(("n01", "n02")):
            (place / part / name).mkdir(parents=True)
            for k in range(count):
                width, height = SIZES[k]
                pixels = random.integers(0, 128, (height, width, 3)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / part / name / f"{k}.JPEG")
    return place


def preset(**changes):
    from benchmarks.paper import configuration

    return configuration.read("imagenet", **changes)


def test_the_preset_is_that_of_the_paper():
    from benchmarks.paper import images, networks, training

    settings = preset()
    assert (settings.epochs, settings.batch, settings.momentum, settings.weight_decay, settings.rewind) == (
        90,
        1024,
        0.9,
        1e-4,
        5,
    )
    rates = [training.rate(settings, epoch) for epoch in (0, 29, 30, 59, 60, 79, 80, 89)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])
    assert settings.levels == (0.1, 0.2, 0.4, 0.6, 0.8)
    train, held = images.shares(1_281_167, settings.validation)
    assert (len(train), len(held)) == (1_268_355, 12_812)  # 99 % and 1 %
    assert not np.intersect1d(train, held).size
    order = training.batches(settings, 0, 3, len(train))
    assert len(order) == math.ceil(len(train) / 1024)
    assert np.array_equal(np.sort(np.concatenate(order)), np.arange(len(train)))
    network = networks.build(settings, 3, 1000, 0)
    assert sum(p.numel() for p in network.parameters()) == 11_689_512  # ResNet-18 as everybody has it
    assert network.conv1.kernel_size == (7, 7)
    assert sum(weight.ndim == 4 for weight in networks.prunable(network).values()) == 20


def test_the_preset_trains_prunes_and_goes_on_after_a_kill(images, tmp_path):
    """ResNet-18 at 224x224, killed within the last epoch of the dense training; epochs, batch, width and what
    to prune are less than in the preset."""
    from benchmarks.paper import protocol
    from benchmarks.paper.image_folder import open_folder

    settings = preset(
        epochs=2,
        rewind=1,
        batch=4,
        width=16,
        workers=2,
        save=3,
        seeds=[0],
        levels=[0.4],
        methods=["Φ-GP"],
        threads=1,
    )
    data = open_folder(settings, str(images))
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (7, 1, 4, 2)

    class Killed(BaseException):
        pass

    def killing(doing: str, done: int, total: int) -> None:
        if (doing, done) == ("dense", 3):
            raise Killed

    with pytest.raises(Killed):
        protocol.run(settings, data, tmp_path / "killed", 0, killing)
    assert (tmp_path / "killed" / "seed-0" / "dense.pt").exists()
    said = []
    protocol.run(settings, data, tmp_path / "killed", 0, lambda *facts: said.append(facts))
    assert [done for doing, done, _ in said if doing == "dense"] == [0, 4]  # only the step that was missing
    with pytest.raises(Killed):
        protocol.run(settings, data, tmp_path / "whole", 0, lambda doing, *_: stop(doing, Killed))
    found = [
        json.loads((tmp_path / name / "seed-0" / "dense.json").read_text(encoding="utf-8"))
        for name in ("killed", "whole")
    ]
    assert found[0] == found[1]
    last = json.loads((tmp_path / "killed" / "seed-0" / "gp-40-rescaled.json").read_text(encoding="utf-8"))
    assert last["same_mask"] and last["reused"]
    assert [point["epoch"] for point in last["curve"]] == [2]


def stop(doing: str, error: type[BaseException]) -> None:
    if doing == "masks":
        raise error


def test_reading_does_not_depend_on_processes_or_on_where_it_was_resumed(images):
    from benchmarks.paper import training
    from benchmarks.paper.image_folder import open_folder

    def read(workers: int, first: int, epoch: int = 1) -> list:
        settings = preset(size=32, batch=2, workers=workers)
        split = open_folder(settings, str(images)).train
        return list(split.batches(training.batches(settings, 0, epoch, len(split))[first:], (0, epoch)))

    plain = read(0, 0)
    assert len(plain) == 4
    for other in (read(2, 0), plain[:2] + read(1, 2)):
        for (x, y), (u, v) in zip(plain, other, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)
    assert not torch.equal(plain[0][0], read(0, 0, epoch=2)[0][0])


def test_augmentation_and_centre_are_those_of_the_field():
    from benchmarks.paper import image_folder

    random = np.random.default_rng(0)
    for width, height in ((500, 375), (64, 64), (1000, 20)):
        boxes = np.array([image_folder.random_box(width, height, random) for _ in range(300)])
        w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        share, ratio = w * h / (width * height), w / h
        if width < 1000:  # a box is rounded to pixels, by half a pixel a side
            assert share.min() > 0.08 * 0.95 and share.max() <= 1.0 and share.std() > 0.2
            assert ratio.min() > 0.75 * 0.95 and ratio.max() < 4 / 3 / 0.95
        else:  # no such part fits: the centre, of the widest ratio
            assert set(map(tuple, boxes)) == {(486, 0, 513, 20)}
    colours = np.zeros((256, 512, 3), np.uint8)
    colours[:, 144:368] = (255, 0, 0)  # what the centre of 224 of a 512x256 image is
    found = image_folder.tensor(image_folder.centre(Image.fromarray(colours), 224))
    assert found.shape == (3, 224, 224)
    for channel, value in enumerate((1.0, 0.0, 0.0)):
        expected = (value - image_folder.MEAN[channel]) / image_folder.DEVIATION[channel]
        assert torch.allclose(found[channel], torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_every_kind_of_image_is_read_as_rgb(tmp_path):
    from benchmarks.paper import image_folder

    gray = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1)))
    gray.convert("RGB").save(tmp_path / "rgb.png")
    expected = image_folder.read(str(tmp_path / "rgb.png"), 32, None)
    gray.save(tmp_path / "gray.png")
    gray.convert("P").save(tmp_path / "palette.png")
    gray.convert("RGBA").save(tmp_path / "alpha.png")
    for name in ("gray", "palette", "alpha"):
        assert torch.equal(image_folder.read(str(tmp_path / f"{name}.png"), 32, None), expected)
    gray.convert("RGB").convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    difference = (image_folder.read(str(tmp_path / "cmyk.jpg"), 32, None) - expected).abs().max()
    assert difference < 4 / 255 / 0.224  # four gray levels lost to JPEG
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by 90 degrees: not done, as in the usual loaders
    gray.convert("RGB").save(tmp_path / "turned.png", exif=turned)
    assert torch.equal(image_folder.read(str(tmp_path / "turned.png"), 32, None), expected)


def test_classes_are_in_alphabetical_order_and_hidden_files_are_none(tmp_path):
    from benchmarks.paper import image_folder

    for name in ("n10", "n02", ".cache"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "deeper" / "b.PNG")
        (tmp_path / name / "._b.PNG").write_bytes(b"")
        (tmp_path / name / "notes.txt").write_bytes(b"")
    classes, found = image_folder.listed(tmp_path)
    assert classes == ["n02", "n10"]
    assert [(Path(path).relative_to(tmp_path).as_posix(), label) for path, label in found] == [
        ("n02/deeper/b.PNG", 0),
        ("n10/deeper/b.PNG", 1),
    ]


def test_unusable_files_and_folders_are_named(images, tmp_path):
    from benchmarks.paper import configuration, image_folder
    from benchmarks.paper import images as data

    whole = (images / "train" / "n01" / "0.JPEG").read_bytes()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.png")
    png = bytearray((tmp_path / "whole.png").read_bytes())
    png[40] ^= 255
    for name, content in (
        ("text.jpg", b"no image"),
        ("empty.jpg", b""),
        ("half.jpg", whole[: len(whole) // 2]),
        ("broken.png", bytes(png)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(configuration.SettingsError, match=rf"{name}: not a readable image"):
            image_folder.read(str(tmp_path / name), 32, None)
    for workers in (0, 1):  # in its own words from another process too
        split = image_folder.Files([(str(tmp_path / "text.jpg"), 0)], 32, workers)
        with pytest.raises(configuration.SettingsError, match=r"^\S*text\.jpg: not a readable image: .*$"):
            list(split.batches([np.array([0])]))
    with pytest.raises(configuration.SettingsError, match="need a folder of images: --data DIR"):
        data.load(preset(), None)
    (tmp_path / "root" / "train").mkdir(parents=True)
    with pytest.raises(configuration.SettingsError, match="no folder of a class in it"):
        image_folder.open_folder(preset(), str(tmp_path / "root"))
    with pytest.raises(configuration.SettingsError, match="No such file"):
        image_folder.open_folder(preset(), str(tmp_path / "missing"))
    (tmp_path / "root" / "train" / "cat").mkdir()
    with pytest.raises(configuration.SettingsError, match=r"cat: no image"):
        image_folder.open_folder(preset(), str(tmp_path / "root"))

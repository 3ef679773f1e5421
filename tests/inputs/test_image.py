"""Images of every origin and mode to tensors."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ortolan.errors import (
    InputError,
    InputTypeError,
    ManifestError,
    MemoryBudgetError,
    MissingPackageError,
    StorageError,
)
from ortolan.inputs.image import ImageEncoder
from ortolan.inputs.image_config import parse_image_config
from ortolan.inputs.image_geometry import Bounded, Exact, FixedHeight, Letterbox, Placement, Shortest, cropped
from ortolan.inputs.image_source import ImageArray

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def encoder(**changes: Any) -> ImageEncoder:
    """An encoder that hands 8 bit pixels through, unless told otherwise."""
    return ImageEncoder.open(
        {"input": {"kind": "image", "color": "rgb", "layout": "nhwc", "dtype": "uint8", **changes}}
    )


def pixels(x: Any, **changes: Any) -> Any:
    """The pixels [height, width, channels] that reach the model."""
    return encoder(**changes).encode(x)[0][0]


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file of any header and content."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- origins


def test_every_origin_gives_the_same_pixels(tmp_path: Path) -> None:
    """A path, a str, bytes of three types, a Pillow image and an array are the same image."""
    image = Image.fromarray(PIXELS)
    content = encoded(image)
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    origins = [path, str(path), content, bytearray(content), memoryview(content), image, PIXELS]
    for origin in origins:
        np.testing.assert_array_equal(pixels(origin), PIXELS)


def test_an_array_of_the_right_size_needs_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras give arrays; Pillow is for files and for resizing."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.testing.assert_array_equal(pixels(PIXELS, resize={"to": "exact", "size": [6, 8]}), PIXELS)
    with pytest.raises(MissingPackageError) as caught:
        pixels(PIXELS, resize={"to": "exact", "size": [3, 4]})
    assert str(caught.value) == (
        "an image of 8x6 pixels, to resize it to 4x3, needs Pillow, which is not installed: "
        "pip install 'ortolan[image]'; uint8 arrays of the model's own size work without"
    )
    with pytest.raises(MissingPackageError, match=r"an image file needs Pillow.*ortolan\[image\]"):
        pixels(b"\x89PNG")


@pytest.mark.parametrize("x", [None, 3, [1, 2], {"a": 1}, object()])
def test_what_is_no_image_is_a_type_error(x: object) -> None:
    """The message says what would be one."""
    with pytest.raises(InputTypeError, match="expected an image: a path, the bytes of an image file"):
        pixels(x)


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    """As is a directory, and a path that cannot be one."""
    for path in (tmp_path / "none.png", tmp_path, "nul\0.png"):
        with pytest.raises(StorageError, match="cannot open the image"):
            pixels(path)


def test_photos_with_a_second_picture_inside_are_read() -> None:
    """Telephones put a preview or a depth map behind the photo; it is still a JPEG file to everybody."""
    image = Image.fromarray(PIXELS.repeat(4, axis=0).repeat(4, axis=1))
    content = encoded(image, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))])
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "MPO"
        np.testing.assert_array_equal(pixels(content), np.asarray(opened))


# --- arrays


@pytest.mark.parametrize(("order", "channels"), [("bgr", [2, 1, 0]), ("rgb", [0, 1, 2]), ("rgba", [0, 1, 2, 0])])
def test_arrays_declare_their_order_of_channels(order: Any, channels: list[int]) -> None:
    """By call, whatever the bundle's own order is; alpha is ignored unless there is a background."""
    given_ = np.ascontiguousarray(PIXELS[..., channels])
    np.testing.assert_array_equal(pixels(ImageArray(given_, order)), PIXELS)
    np.testing.assert_array_equal(pixels(given_, array_order=order), PIXELS)


def test_the_model_may_take_bgr() -> None:
    """Whatever the order of what comes in."""
    np.testing.assert_array_equal(pixels(PIXELS, color="bgr"), PIXELS[..., ::-1])
    np.testing.assert_array_equal(pixels(Image.fromarray(PIXELS), color="bgr"), PIXELS[..., ::-1])
    np.testing.assert_array_equal(pixels(PIXELS, color="bgr", array_order="bgr"), PIXELS)


def test_rows_may_be_padded_and_arrays_may_be_views() -> None:
    """Strided, mirrored, transposed and read-only arrays are read as numpy sees them."""
    padded = np.zeros((6, 16, 3), np.uint8)
    padded[:, :8] = PIXELS
    frozen = PIXELS.copy()
    frozen.setflags(write=False)
    transposed = np.ascontiguousarray(PIXELS.transpose(1, 0, 2)).transpose(1, 0, 2)
    for view in (padded[:, :8], PIXELS[::-1][::-1], np.asfortranarray(PIXELS), frozen, transposed):
        np.testing.assert_array_equal(pixels(view), PIXELS)
        resized = pixels(view, resize={"to": "exact", "size": [3, 4]})
        np.testing.assert_array_equal(resized, pixels(PIXELS, resize={"to": "exact", "size": [3, 4]}))


def test_gray_is_repeated_and_color_is_weighed() -> None:
    """A gray image fills all channels; a model that takes gray gets the luminance that Pillow computes."""
    gray = PIXELS[..., 0]
    for given_ in (gray, gray[..., None], ImageArray(gray, "gray"), Image.fromarray(gray)):
        np.testing.assert_array_equal(pixels(given_), gray[..., None].repeat(3, axis=2))
        np.testing.assert_array_equal(pixels(given_, color="gray"), gray[..., None])
    expected = np.asarray(Image.fromarray(PIXELS).convert("L"))[..., None]
    np.testing.assert_array_equal(pixels(PIXELS, color="gray"), expected)
    np.testing.assert_array_equal(pixels(ImageArray(PIXELS[..., ::-1], "bgr"), color="gray"), expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS.astype(np.float32), "expected a uint8 array of pixels from 0 to 255, found '<f4'"),
        (PIXELS.astype(">u2"), "expected a uint8 array of pixels from 0 to 255, found '>u2'"),
        (PIXELS.astype(np.int8), "expected a uint8 array of pixels from 0 to 255, found '|i1'"),
        (PIXELS > 3, "expected a uint8 array of pixels from 0 to 255, found '|b1'"),
        (np.ma.array(PIXELS), "expected a numpy array of uint8, found MaskedArray"),
    ],
)
def test_arrays_of_other_types_are_refused(array: Any, message: str) -> None:
    """Nothing is guessed about their range."""
    with pytest.raises(InputTypeError) as caught:
        pixels(array)
    assert str(caught.value) == message


@pytest.mark.parametrize("shape", [(3, 6, 8), (6, 8, 4), (6, 8, 2), (1, 6, 8, 3), (8,), (0, 8, 3), (6, 0, 3), ()])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """The message shows the shape expected and given."""
    with pytest.raises(InputError) as caught:
        pixels(np.zeros(shape, np.uint8))
    assert str(caught.value).startswith(f"expected rgb pixels [height, width, 3], found {list(shape)}")


def test_unknown_orders_are_refused() -> None:
    """With the known ones."""
    with pytest.raises(InputError, match="expected an order of channels among gray, rgb, bgr, rgba, bgra, found 'yuv'"):
        pixels(ImageArray(PIXELS, "yuv"))  # type: ignore[arg-type]


# --- modes


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_becomes_eight_bit_color(mode: str) -> None:
    """As Pillow converts it."""
    steps = {"La": ["L", "LA", "La"], "PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"], "LA": ["L", "LA"]}
    image = Image.fromarray(PIXELS)
    for step in steps.get(mode, [mode]):
        image = image.convert(step)
    assert image.mode == mode
    premultiplied = {"La": "LA", "RGBa": "RGBA"}
    plain = image.convert(premultiplied[mode]) if mode in premultiplied else image
    np.testing.assert_array_equal(pixels(image), np.asarray(plain.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_reduced_to_the_upper_eight(mode: str) -> None:
    """Pillow's own conversion would make nearly all of them white."""
    values = np.array([[0, 255, 256], [0x1234, 0xFF00, 0xFFFF]], np.uint16)
    if mode == "I":
        image = Image.fromarray(values.astype(np.int32))
    else:
        raw = values.astype("<u2" if mode == "I;16" else ">u2").tobytes()
        image = Image.frombytes(mode, (3, 2), raw)
    assert image.mode == mode
    np.testing.assert_array_equal(pixels(image, color="gray")[..., 0], [[0, 0, 1], [0x12, 0xFF, 0xFF]])


def test_sixteen_bit_files_work() -> None:
    """Gray PNG files of 16 bits, big-endian inside."""
    rows = b"".join(b"\0" + struct.pack(">3H", *row) for row in ((0, 256, 65535), (4660, 255, 512)))
    np.testing.assert_array_equal(pixels(png(3, 2, 16, 0, rows), color="gray")[..., 0], [[0, 1, 255], [18, 0, 2]])


def test_pixels_of_unknown_range_are_refused() -> None:
    """Floating-point and 32 bit images need the caller's knowledge."""
    with pytest.raises(InputError, match="found floating-point pixels of unknown range"):
        pixels(Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(InputError, match="found values outside 0 to 65535"):
        pixels(Image.fromarray(np.full((2, 2), 1 << 20, np.int32)))


def test_what_pillow_does_not_convert_is_refused() -> None:
    """With what it is: the file is not damaged."""
    with pytest.raises(InputError, match="the image: expected gray, color or CMYK pixels, found CIELAB"):
        pixels(encoded(Image.new("LAB", (4, 4)), "TIFF"))


def test_of_several_frames_the_first_counts() -> None:
    """In animations and in files of several pages."""
    frames = [Image.fromarray(PIXELS[..., 0]), Image.new("L", (8, 6))]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        content = encoded(
            frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
        )
        np.testing.assert_array_equal(pixels(content), PIXELS[..., :1].repeat(3, axis=2))


def test_transparency_is_laid_upon_the_declared_background() -> None:
    """In files, in palettes, in Pillow's images and in arrays; without a background it is ignored."""
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (0, 128, 255)
    expected = [[[10, 20, 30], [105, 10, 15], [200, 0, 0]]]
    options: dict[str, Any] = {"background": [10, 20, 30]}
    image = Image.fromarray(rgba)
    for given_ in (image, encoded(image), ImageArray(rgba, "rgba"), ImageArray(rgba[..., [2, 1, 0, 3]], "bgra")):
        np.testing.assert_allclose(pixels(given_, **options), expected, atol=1)
        assert pixels(given_)[0, 0].tolist() == [200, 0, 0]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([200, 0, 0, 0, 100, 0])
    clear = encoded(palette, transparency=0)
    assert pixels(clear, **options).tolist() == [[[10, 20, 30], [0, 100, 0]]]
    assert pixels(clear).tolist() == [[[200, 0, 0], [0, 100, 0]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_rotation_is_applied(orientation: int, form: str) -> None:
    """Phones store photos as the sensor lies and write down how it was held."""
    tall = np.zeros((16, 8, 3), np.uint8)
    tall[:8] = 255
    tall[8:, 4:] = 128
    back = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    image = Image.fromarray(tall)
    for method in back:
        image = image.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_allclose(pixels(encoded(image, form, exif=exif)), tall, atol=3)


# --- damage


def test_truncated_files_are_refused() -> None:
    """At every length; never half an image."""
    big = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    for form in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"):
        content = encoded(big, form)
        for share in (0.0, 0.02, 0.3, 0.6, 0.9):
            with pytest.raises(InputError, match=r"the image: (expected an image file|the image is damaged)"):
                pixels(content[: int(len(content) * share)])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 400), st.sampled_from(["JPEG", "PNG", "GIF", "TIFF"]))
def test_damaged_files_give_pixels_or_an_input_error(noise: bytes, at: int, form: str) -> None:
    """No other exception, whatever the bytes are."""
    content = bytearray(encoded(Image.fromarray(PIXELS), form))
    content[at : at + len(noise)] = noise
    try:
        tensor, _ = encoder().encode(bytes(content))
    except InputError:
        return
    assert tensor.dtype == np.uint8


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    """A file of some bytes may claim any number of pixels."""
    claim = png(30_000, 30_000, 8, 2, b"")
    with pytest.raises(InputError, match="expected an image of at most 67108864 pixels"):
        pixels(claim)
    with pytest.raises(InputError, match="expected an image of at most 40 pixels, found 8x6"):
        pixels(encoded(Image.fromarray(PIXELS)), max_pixels=40)
    bomb = png(12_000, 12_000, 1, 0, b"\0" * (1501 * 12_000))
    assert len(bomb) < 20_000
    with pytest.raises(InputError, match=r"at most 67108864 pixels, found (12000x12000|far more)"):
        pixels(bomb)


@pytest.mark.parametrize(("mode", "form", "needed"), [("RGB", "JPEG", 26), ("CMYK", "JPEG", 53), ("RGBA", "PNG", 53)])
def test_what_would_not_fit_into_memory_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch, mode: str, form: str, needed: int
) -> None:
    """Converting an image takes another copy; small images are decoded without asking."""
    photo = encoded(Image.new(mode, (3000, 2200)), form)
    room: int | None = 20_000_000
    monkeypatch.setattr("ortolan.inputs.image_source.available_memory", lambda: room)
    with monkeypatch.context() as patch, pytest.raises(MemoryBudgetError) as caught:
        patch.setattr("PIL.ImageFile.ImageFile.load", None)
        pixels(photo)
    assert str(caught.value) == (
        f"the image: 3000x2200 pixels take {needed} MB to decode or turn, 20 MB are available; reduce the image first"
    )
    assert pixels(encoded(Image.fromarray(PIXELS))).shape == PIXELS.shape
    for room in (60_000_000, None):  # noqa: B007 - the system's answer
        assert pixels(photo, resize={"to": "exact", "size": [2, 3]}).shape == (2, 3, 3)


def test_turning_an_image_takes_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """For which there must be room once it is decoded."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(Image.new("RGB", (3000, 2200)), "JPEG", exif=exif)
    rooms = iter((30_000_000, 20_000_000))
    monkeypatch.setattr("ortolan.inputs.image_source.available_memory", lambda: next(rooms))
    with pytest.raises(MemoryBudgetError, match="3000x2200 pixels take 26 MB to decode or turn, 20 MB are available"):
        pixels(photo)


def test_what_resizing_would_blow_up_is_refused() -> None:
    """A line of one pixel's height may be a small file and a huge image afterwards."""
    with pytest.raises(InputError) as caught:
        pixels(np.zeros((1, 1_000_000, 3), np.uint8), resize={"to": "shortest", "size": 256}, crop=[224, 224])
    assert str(caught.value) == (
        "an image of 1000000x1 pixels would become 256000000x256, more than 67108864 pixels; crop it first"
    )


def test_formats_that_start_programs_are_not_read() -> None:
    """Pillow would hand PostScript to Ghostscript."""
    with pytest.raises(InputError, match="expected an image file"):
        pixels(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


# --- geometry and numbers


def test_resizing_and_cropping_are_torchvisions() -> None:
    """Shorter side, rounding down, and the center rounded half to even."""
    assert Shortest(256).place(451, 300).resized == (384, 256)
    assert Shortest(256).place(300, 451).resized == (256, 384)
    assert cropped(Shortest(256).place(451, 300), 224, 224).offset == (-80, -16)
    assert cropped(Placement(image=(7, 7), resized=(7, 7), canvas=(7, 7)), 4, 4).offset == (-2, -2)
    assert cropped(Placement(image=(4, 3), resized=(4, 3), canvas=(4, 3)), 8, 8).offset == (2, 2)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_pixels_are_interpolated_as_pillow_does_it(interpolation: str) -> None:
    """Of arrays in any order as of images."""
    photo = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    resize = {"to": "exact", "size": [17, 23], "interpolation": interpolation}
    expected = np.asarray(Image.fromarray(photo).resize((23, 17), Image.Resampling[interpolation.upper()]))
    np.testing.assert_array_equal(pixels(Image.fromarray(photo), resize=resize), expected)
    np.testing.assert_array_equal(pixels(ImageArray(photo[..., ::-1], "bgr"), resize=resize), expected)


def test_without_antialiasing_only_the_nearest_pixels_count() -> None:
    """As in OpenCV: halving takes the mean of two by two pixels, and a third takes the middle one."""
    photo = RNG.integers(0, 256, (12, 18, 3), np.uint8)
    how = {"interpolation": "bilinear", "antialias": False}
    third = pixels(photo, resize={"to": "exact", "size": [4, 6], **how})
    np.testing.assert_array_equal(third, photo[1::3, 1::3])
    half = pixels(photo, resize={"to": "exact", "size": [6, 9], **how})
    means = photo.reshape(6, 2, 9, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(half, means, atol=1)


def test_numbers_are_scaled_and_normalised_per_channel() -> None:
    """(pixel * scale - mean) / std to float32's rounding, in both layouts and any order."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    how = {"dtype": "float32", "scale": 1 / 255, "mean": mean.tolist(), "std": std.tolist()}
    for color, source in (("rgb", PIXELS), ("bgr", PIXELS[..., ::-1])):
        expected = (source / 255 - mean) / std
        last = pixels(PIXELS, color=color, **how)
        first = pixels(PIXELS, color=color, **{**how, "layout": "nchw"})
        assert last.dtype == first.dtype == np.float32
        np.testing.assert_allclose(last, expected, atol=2e-6)
        np.testing.assert_array_equal(first, last.transpose(2, 0, 1))


def test_letterboxes_are_filled_with_the_normalised_color() -> None:
    """Around the image, which lies in the center or in the corner."""
    resize = {"to": "letterbox", "size": [10, 16]}
    how: dict[str, Any] = {"dtype": "float32", "fill": [114, 114, 127.5], "scale": 1 / 255, "mean": [0.5] * 3}
    tensor, placement = encoder(resize=resize, **how).encode(np.zeros((5, 5, 3), np.uint8))
    assert (placement.resized, placement.offset, placement.canvas) == ((10, 10), (3, 0), (16, 10))
    np.testing.assert_allclose(tensor[0, :, 3:13], -0.5)
    np.testing.assert_allclose(
        tensor[0, :, :3], np.broadcast_to([114 / 255 - 0.5, 114 / 255 - 0.5, 0], (10, 3, 3)), atol=1e-7
    )
    np.testing.assert_array_equal(tensor[0, :, 13:], tensor[0, :, :3])
    corner = encoder(resize={**resize, "place": "corner", "enlarge": False}).place(5, 5)
    assert (corner.resized, corner.offset) == ((5, 5), (0, 0))


def test_a_crop_larger_than_the_image_is_filled() -> None:
    """The image lies in the center."""
    tensor = pixels(np.full((2, 4, 3), 9, np.uint8), crop=[4, 4], fill=[1, 2, 3])
    assert tensor[1:3].min() == tensor[1:3].max() == 9
    assert tensor[0, 0].tolist() == tensor[3, 3].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((384, 191), (1472, 736)), ((736, 736), (736, 736)), ((2000, 1000), (1984, 992)), ((100_000, 10), (2016, 32))],
)
def test_bounded_sizes_are_multiples_within_bounds(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Enlarged to the shorter bound, reduced to the longer one, then rounded."""
    assert Bounded(736, 2016, 32).place(*size).canvas == expected


@pytest.mark.parametrize(
    ("size", "resized", "canvas"),
    [
        ((100, 48), 100, 320),
        ((1000, 100), 480, 480),
        ((501, 50), 481, 512),
        ((99_999, 10), 3200, 3200),
        ((1, 500), 1, 320),
    ],
)
def test_lines_keep_their_height(size: tuple[int, int], resized: int, canvas: int) -> None:
    """The canvas is as wide as the next multiple."""
    placement = FixedHeight(48, 320, 3200, 32).place(*size)
    assert (placement.resized, placement.canvas) == ((resized, 48), (canvas, 48))


SIDES = st.integers(1, 5000)
RESIZES = st.one_of(
    st.builds(Exact, SIDES, SIDES),
    st.builds(Letterbox, SIDES, SIDES, st.booleans(), st.booleans()),
    st.builds(Shortest, SIDES),
    st.builds(Bounded, st.just(64), st.integers(64, 2000), st.just(32)),
)


@settings(max_examples=200, deadline=None)
@given(RESIZES, SIDES, SIDES, st.floats(0, 1), st.floats(0, 1))
def test_the_way_back_from_the_canvas_is_the_inverse(resize: Any, width: int, height: int, x: float, y: float) -> None:
    """A point of the image comes back to where it was; the image's corners lie on the canvas."""
    placement = resize.place(width, height)
    point = np.array([x * width, y * height])
    np.testing.assert_allclose(placement.to_image(placement.to_canvas(point)), point, atol=1e-6 * max(width, height))
    corners = placement.to_canvas(np.array([[0, 0], [width, height]]))
    assert (corners >= 0).all()
    assert (corners <= np.array(placement.canvas) + 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.booleans(), st.data())
def test_a_mark_is_found_where_it_was(width: int, height: int, centered: bool, data: st.DataObject) -> None:
    """The brightest place of the tensor, taken back through the letterbox, is the bright square of the image."""
    left, top = data.draw(st.integers(0, width - 4)), data.draw(st.integers(0, height - 4))
    image = np.zeros((height, width), np.uint8)
    image[top : top + 4, left : left + 4] = 255
    place = "center" if centered else "corner"
    letterbox = {"to": "letterbox", "size": [96, 96], "place": place, "interpolation": "nearest"}
    tensor, placement = encoder(color="gray", resize=letterbox).encode(image)
    found = placement.to_image(np.argwhere(tensor[0, ..., 0] > 127)[:, ::-1] + 0.5)
    middle = (left + 2, top + 2)
    np.testing.assert_allclose(found.mean(axis=0), middle, atol=0.75)


# --- configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "tokens"}, "task.config.input.kind: expected 'image', found 'tokens'"),
        ({"color": "yuv"}, "task.config.input.color: expected 'rgb' or 'bgr' or 'gray', got \"yuv\""),
        ({"lay": 1}, "task.config.input.lay: unknown key"),
        ({"resize": {"to": "fit"}}, "task.config.input.resize.to: expected one of exact, shortest, letterbox"),
        ({"resize": 224}, "task.config.input.resize: expected object, got int"),
        ({"resize": {"to": "exact", "size": 224}}, "task.config.input.resize.size: expected array, got int"),
        ({"resize": {"to": "exact", "size": [0, 5]}}, "task.config.input.resize.size[0]: expected 1 to 16384, got 0"),
        ({"resize": {"to": "shortest", "size": True}}, "task.config.input.resize.size: expected int, got bool"),
        (
            {"resize": {"to": "exact", "size": [5, 5], "interpolation": "box", "antialias": False}},
            "task.config.input.resize.antialias: expected true with box: it exists with smoothing only",
        ),
        (
            {"resize": {"to": "letterbox", "size": [5, 5]}, "crop": [3, 3]},
            "task.config.input.crop: expected no crop after a resize that fills or bounds the image",
        ),
        (
            {"resize": {"to": "height", "height": 48, "min_width": 40, "max_width": 64, "multiple": 32}},
            "task.config.input.resize.min_width: expected a multiple of 32, found 40",
        ),
        ({"mean": [0.5]}, "task.config.input.mean: expected 3 elements, got 1"),
        ({"dtype": "float32", "std": [1, 0, 1]}, "task.config.input.std[1]: expected 1e-09 to 1e+09, got 0"),
        ({"scale": 0.5}, "task.config.input.dtype: expected float32 with scale, mean or std"),
        ({"fill": [0.5, 0, 0]}, "task.config.input.fill: expected whole numbers for a uint8 input"),
        ({"background": [0, 0, 256]}, "task.config.input.background[2]: expected 0 to 255, got 256"),
        ({"max_pixels": 0}, "task.config.input.max_pixels: expected 1 to 178956970, got 0"),
    ],
)
def test_wrong_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    """With the dotted path of what is wrong."""
    raw = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "uint8", **changes}
    with pytest.raises(ManifestError) as caught:
        parse_image_config({"input": raw})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", ["color", "layout", "dtype"])
def test_what_cannot_be_guessed_must_be_there(key: str) -> None:
    """Nothing is assumed."""
    raw = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "uint8"}
    del raw[key]
    with pytest.raises(ManifestError, match=rf"task\.config\.input\.{key}: missing"):
        parse_image_config({"input": raw})
    with pytest.raises(ManifestError, match=r"task\.config\.input: expected an object, found NoneType"):
        parse_image_config({})

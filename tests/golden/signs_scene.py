"""Small ptychography scans whose every axis, sign and order shows: the truth of the sign tests.

Conventions of the truth: frames are photon counts, (rows, columns), zero frequency in the centre;
positions are the (row, column) of a patch's first pixel in the object; the exit wave is
probe * patch and its far field abs(fftshift(fft2(.)))^2.

Two scenes. `small`, frames of 64 x 64 counted without noise, is for exact comparison of what readers
deliver. `demo`, frames of 128 x 128 with Poisson noise through a probe given, is for a network.
"""
import dataclasses

import numpy as np

ENERGY_EV = 8000.0
DISTANCE_M = 2.0
DETECTOR_PIXEL_M = 75e-6
PLANCK_J_S, LIGHT_M_S, CHARGE_C = 6.62607015e-34, 299792458.0, 1.602176634e-19
WAVELENGTH_M = PLANCK_J_S * LIGHT_M_S / (ENERGY_EV * CHARGE_C)
COUNTS = 2e6  # photons of a frame of the small scene without an object

LETTERS = {
    "F": ["#####", "#....", "#....", "####.", "#....", "#....", "#...."],
    "R": ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"],
    "L": ["#....", "#....", "#....", "#....", "#....", "#....", "#####"],
    "P": ["####.", "#...#", "#...#", "####.", "#....", "#....", "#...."],
    "J": ["..###", "...#.", "...#.", "...#.", "...#.", "#..#.", ".##.."],
    "G": [".###.", "#...#", "#....", "#.###", "#...#", "#...#", ".###."],
}


@dataclasses.dataclass
class Scan:
    object: np.ndarray
    probe: np.ndarray
    positions: np.ndarray
    frames: np.ndarray
    mask: np.ndarray
    raster: tuple  # rows, columns

    @property
    def size(self):
        return self.frames.shape[-1]

    @property
    def object_pixel_m(self):
        return WAVELENGTH_M * DISTANCE_M / (self.size * DETECTOR_PIXEL_M)


def letter(pattern, scale):
    """1 where the letter is, enlarged `scale` times."""
    return np.kron(np.array([[c == "#" for c in line] for line in pattern], float), np.ones((scale, scale)))


def put(image, name, scale, corner, value):
    """Adds a letter whose first pixel is `corner`."""
    shape = letter(LETTERS[name], scale)
    image[corner[0] : corner[0] + shape.shape[0], corner[1] : corner[1] + shape.shape[1]] += value * shape


def smooth(image, sigma):
    """Gaussian blur by Fourier transform."""
    fr = np.fft.fftfreq(image.shape[0])[:, None]
    fc = np.fft.fftfreq(image.shape[1])[None, :]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2 * (np.pi * sigma) ** 2 * (fr**2 + fc**2))).real


def make_positions(raster, step, margin):
    """A raster of unequal steps with whole-pixel offsets that no reversal maps onto themselves."""
    positions = []
    for i in range(raster[0]):
        for j in range(raster[1]):
            positions.append((margin[0] + step[0] * i + (i * j) % 3, margin[1] + step[1] * j + (2 * i + j * j) % 4))
    return np.array(positions, float)


def far_field(obj, probe, positions):
    size = probe.shape[-1]
    frames = []
    for row, column in positions.astype(int):
        exit_wave = probe.astype(complex) * obj[row : row + size, column : column + size]
        frames.append(abs(np.fft.fftshift(np.fft.fft2(exit_wave))) ** 2)
    return np.array(frames)


def make_mask(size):
    mask = np.ones((size, size), np.uint8)
    mask[5, 60] = mask[6, 60] = mask[40, 2] = 0
    return mask


def small_probe(size):
    """A compact curved beam with a tail to one side, centred in its array."""
    r, c = np.mgrid[:size, :size] - size // 2
    wave = np.exp(-(r**2 + 1.6 * c**2) / 90.0) * np.exp(0.035j * (r**2 + c**2))
    wave += 0.35 * np.exp(-((r - 8) ** 2 + (c + 5) ** 2) / 30.0)
    return (wave * np.sqrt(COUNTS / np.sum(abs(wave) ** 2)) / size).astype(np.complex64)


def small():
    """An F in amplitude and an R in phase, at different places; no symmetry, no ramp."""
    size, raster, step, margin = 64, (5, 7), (9, 6), (3, 5)
    shape = (2 * margin[0] + size + step[0] * (raster[0] - 1) + 4, 2 * margin[1] + size + step[1] * (raster[1] - 1) + 6)
    absorbing, shifting = np.zeros(shape), np.zeros(shape)
    put(absorbing, "F", 6, (28, 30), 1)
    put(shifting, "R", 5, (44, 56), 1)
    obj = (1 - 0.5 * smooth(absorbing, 0.8)) * np.exp(1j * smooth(shifting, 0.8))
    probe, positions = small_probe(size), make_positions(raster, step, margin)
    frames = np.round(far_field(obj, probe, positions)).astype(np.uint32)
    return Scan(obj.astype(np.complex64), probe, positions, frames, make_mask(size), raster)


def demo(probe):
    """Letters in amplitude and other letters elsewhere in phase, through a probe whose far field is an
    upright shadow; strokes as wide as the shapes that the demo's network was trained on."""
    size, raster, step, margin = probe.shape[-1], (5, 3), (40, 56), (3, 5)
    shape = tuple(2 * margin[k] + size + step[k] * (raster[k] - 1) + 4 for k in (0, 1))
    absorbing, shifting = np.zeros(shape), np.zeros(shape)
    for name, scale, corner, value in (("F", 16, (35, 50), 0.6), ("J", 16, (135, 115), 0.5)):
        put(absorbing, name, scale, corner, value)
    for name, scale, corner, value in (("L", 16, (60, 130), 0.8), ("R", 16, (145, 40), 0.8)):
        put(shifting, name, scale, corner, value)
    obj = (0.95 - smooth(absorbing, 0.8)) * np.exp(1j * smooth(shifting, 0.8))
    positions = make_positions(raster, step, margin)
    frames = np.random.default_rng(11).poisson(far_field(obj, probe, positions)).astype(np.uint32)
    return Scan(obj.astype(np.complex64), probe.astype(np.complex64), positions, frames, make_mask(size), raster)
